package peers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
)

// View asks all endpoints at once and takes the first answer that a quorum vouches for. Without ExpectCluster the first
// cluster that answers is from then on the only one this Client takes answers from. ErrOtherServer when only others answered.
func (c *Client) View(ctx context.Context) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	view, err := first(ctx, c.contacts, func(ctx context.Context, k *contact) (View, error) {
		response, err := k.list(ctx)
		if err != nil {
			return View{}, err
		}
		return viewOf(response), c.belongs(response.Header.ClusterId)
	})
	if err != nil {
		return View{}, fmt.Errorf("member list: %w", err)
	}
	c.cluster.CompareAndSwap(0, view.ClusterID)
	return view, nil
}

// AddLearner implements Cluster.
func (c *Client) AddLearner(ctx context.Context, peerURL string) (id uint64, err error) {
	if _, err := types.NewURLs([]string{peerURL}); err != nil {
		return 0, fmt.Errorf("add %s: not asked for: %w", peerURL, err)
	}
	err = c.change(ctx, "add "+peerURL, func(ctx context.Context, k *contact) error {
		response, err := k.cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{peerURL}, IsLearner: true})
		if err != nil {
			return err
		}
		id = response.Member.ID
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		// Ids are made of URL and second, and one that was removed is never used again.
		return 0, fmt.Errorf("add %s: the same URL was added and removed within this second: try again in the next", peerURL)
	}
	return id, err
}

// Promote implements Cluster.
func (c *Client) Promote(ctx context.Context, id uint64) error {
	return c.change(ctx, fmt.Sprintf("promote %x", id), func(ctx context.Context, k *contact) error {
		_, err := k.cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	})
}

// Remove implements Cluster.
func (c *Client) Remove(ctx context.Context, id uint64) error {
	return c.change(ctx, fmt.Sprintf("remove %x", id), func(ctx context.Context, k *contact) error {
		_, err := k.cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		return err
	})
}

// change asks one member, once: what was asked for twice may have been done by the first.
func (c *Client) change(ctx context.Context, what string, do func(context.Context, *contact) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if c.cluster.Load() == 0 {
		if _, err := c.View(ctx); err != nil {
			return fmt.Errorf("%s: not asked for: %w", what, err)
		}
	}
	k, err := c.target(ctx)
	if err != nil {
		return fmt.Errorf("%s: not asked for: %w", what, err)
	}
	if err := do(ctx, k); err != nil {
		return fmt.Errorf("%s: %s: %w", what, k.Name, explain(err))
	}
	return nil
}

// target is the leader, or, when no endpoint says that it is, a voter that knows one. It waits under ctx for an election.
func (c *Client) target(ctx context.Context) (*contact, error) {
	for {
		k, err := c.seek(ctx)
		if err == nil || errors.Is(err, ErrOtherServer) {
			return k, err
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return nil, err
		}
	}
}

func (c *Client) seek(ctx context.Context) (*contact, error) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	type answer struct {
		k      *contact
		health Health
		err    error
	}
	answers := make(chan answer, len(c.contacts))
	for _, k := range c.contacts {
		group.Go(func() {
			health, err := k.health(ctx)
			if err == nil {
				err = c.belongs(health.ClusterID)
			}
			answers <- answer{k, health, err}
		})
	}
	var spare *contact
	var enough <-chan time.Time
	var failed failures
	for range c.contacts {
		select {
		case a := <-answers:
			switch {
			case a.err != nil:
				failed = append(failed, fmt.Errorf("%s: %w", a.k.Name, a.err))
			case a.health.IsLeader:
				return a.k, nil
			case a.health.Leader == 0:
				failed = append(failed, fmt.Errorf("%s: no leader", a.k.Name))
			case !a.health.Learner && spare == nil:
				spare, enough = a.k, time.After(grace)
			}
		case <-enough:
			return spare, nil
		}
	}
	if spare == nil {
		return nil, fmt.Errorf("no voter that knows a leader: %w", failed)
	}
	return spare, nil
}

// belongs is nil for the cluster that this Client is for.
func (c *Client) belongs(cluster uint64) error {
	if want := c.cluster.Load(); want != 0 && cluster != want {
		return fmt.Errorf("%w: its cluster id is %x, not %x", ErrOtherServer, cluster, want)
	}
	return nil
}

// list asks one member for the list, linearizably, through elections until ctx ends. One that cannot be connected to is
// given up sooner.
func (k *contact) list(ctx context.Context) (*pb.MemberListResponse, error) {
	began := time.Now()
	for {
		response, err := k.cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		if err == nil {
			return response, nil
		}
		err = rpctypes.Error(err)
		if !passing(err) && (!unconnected(err) || time.Since(began) > grace) {
			return nil, err
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return nil, err
		}
	}
}

func viewOf(response *pb.MemberListResponse) View {
	view := View{ClusterID: response.Header.ClusterId}
	for _, m := range response.Members {
		view.Members = append(view.Members, Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner,
		})
	}
	return view
}

// first asks all contacts at once, and returns the first good answer, or what all of them failed with.
func first[T any](ctx context.Context, contacts []*contact, ask func(context.Context, *contact) (T, error)) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, len(contacts))
	for _, k := range contacts {
		group.Go(func() {
			value, err := ask(ctx, k)
			if err != nil {
				err = fmt.Errorf("%s: %w", k.Name, err)
			}
			answers <- answer{value, err}
		})
	}
	var failed failures
	for range contacts {
		a := <-answers
		if a.err == nil {
			return a.value, nil
		}
		failed = append(failed, a.err)
	}
	var none T
	return none, failed
}
