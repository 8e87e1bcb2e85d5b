package peers_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
)

func testLearner(t *testing.T, c *etcdtest.Cluster) {
	ctx := t.Context()
	fresh := c.New(t)
	client := dialTo(t, c, func(o *peers.Options) { o.Endpoints = append(o.Endpoints, silent(t, c)) })
	var id uint64
	eventually(t, func() (err error) {
		id, err = client.AddLearner(ctx, fresh.PeerURL)
		return err
	})
	expect(t, client.Promote(ctx, id), peers.ErrNotReady)
	_, err := client.AddLearner(ctx, fresh.PeerURL)
	expect(t, err, peers.ErrExists)
	_, err = client.AddLearner(ctx, c.New(t).PeerURL)
	expect(t, err, peers.ErrTooMany)
	fresh.Join(t)
	if fresh.ID() != id {
		t.Fatalf("the learner runs as %x, added as %x", fresh.ID(), id)
	}
	// The learner itself is asked too, and refuses everything but its status.
	all := dialTo(t, c, nil)
	if h, err := all.Health(ctx, fresh.Endpoint()); err != nil || !h.Learner {
		t.Errorf("learner: %+v, %v", h, err)
	}
	alone := dialTo(t, c, func(o *peers.Options) { o.Endpoints, o.Timeout = []peers.Endpoint{fresh.Endpoint()}, 2*time.Second })
	if view, err := alone.View(ctx); err == nil {
		t.Errorf("a learner vouched for %+v", view)
	}
	eventually(t, func() error { return all.Promote(ctx, id) })
	expect(t, all.Promote(ctx, id), peers.ErrNotLearner)
	view, err := all.View(ctx)
	if err != nil || len(view.Members) != 4 {
		t.Fatalf("%+v, %v", view, err)
	}
	expect(t, all.Remove(ctx, id+1), peers.ErrNotFound)
	expect(t, all.Promote(ctx, id+1), peers.ErrNotFound)
	// Without a way to the leader a follower is asked, which hands the question on.
	followers := dialTo(t, c, func(o *peers.Options) {
		leader := c.Leader(t).Endpoint()
		o.Endpoints = append(slices.DeleteFunc(o.Endpoints, func(e peers.Endpoint) bool { return e == leader }), silent(t, c))
	})
	expect(t, followers.Remove(ctx, id+1), peers.ErrNotFound)
	expect(t, followers.Promote(ctx, id), peers.ErrNotLearner)
}

func expect(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// Four voters lose their leader while they are asked: nobody who asks notices more than a pause.
func testLeaderGoes(t *testing.T, c *etcdtest.Cluster) {
	client := dialTo(t, c, nil)
	ctx, cancel := context.WithCancel(t.Context())
	answers, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(answers)
		for {
			if _, err := client.View(t.Context()); err != nil {
				failed <- err
				return
			}
			select {
			case answers <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	leader := c.Leader(t)
	<-answers
	leader.Kill()
	for range 20 { // most of these came while there was no leader, or after
		<-answers
	}
	cancel()
	for range answers { // until the goroutine has ended
	}
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
	c.Leader(t)
	leader.Restart(t)
}

func testDeadVoter(t *testing.T, c *etcdtest.Cluster) {
	ctx := t.Context()
	dead := c.Members[len(c.Members)-1]
	id := dead.ID()
	dead.Kill()
	c.Leader(t)
	client := dialTo(t, c, nil)
	eventually(t, func() error { return client.Remove(ctx, id) })
	expect(t, client.Remove(ctx, id), peers.ErrNotFound)
	c.Members = c.Members[:len(c.Members)-1]

	// Of three voters one is dead: to remove a living one would leave one of two.
	var gone, alive *etcdtest.Member
	leader := c.Leader(t)
	for _, m := range c.Members {
		if m != leader {
			gone, alive = alive, m
		}
	}
	goneID := gone.ID()
	gone.Kill()
	c.Leader(t)
	eventually(t, func() error {
		err := client.Remove(ctx, alive.ID())
		if err == nil {
			t.Fatal("a living voter was removed beside a dead one")
		}
		if errors.Is(err, peers.ErrUnhealthy) {
			return nil
		}
		return err
	})
	if goneID == 0 {
		t.Fatal("the id of a member that ran is 0")
	}
	gone.Restart(t)
}

func testQuorumLost(t *testing.T, c *etcdtest.Cluster) {
	view, err := dialTo(t, c, nil).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := dialTo(t, c, func(o *peers.Options) { o.Timeout, o.ExpectCluster = time.Second, view.ClusterID })
	c.Members[0].Kill()
	c.Members[1].Kill()
	last := c.Members[2]
	// The guard is far above the Client's own limit: what is tested is that there is one.
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if view, err := client.View(ctx); err == nil {
		t.Errorf("one of three vouched for %+v", view)
	}
	if _, err := client.AddLearner(ctx, c.New(t).PeerURL); err == nil || errors.Is(err, peers.ErrUnhealthy) {
		t.Errorf("got %v, want an error that says nothing", err)
	}
	if ctx.Err() != nil {
		t.Error("the Client has no limit of its own")
	}
	for {
		h, err := client.Health(ctx, last.Endpoint())
		if err != nil {
			t.Fatal(err)
		}
		if h.Leader == 0 {
			if len(h.Errors) == 0 {
				t.Error("no leader, and no error says so")
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
