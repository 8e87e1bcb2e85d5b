package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
)

// contact is peers.Cluster on a simulated cluster. It obeys etcd's own rules, of which the strict check of
// reconfigurations is the most important (server/etcdserver/server.go).
type contact struct {
	*agent
	endpoints []peers.Endpoint
}

func (a *agent) dial(_ context.Context, _ plan.Etcd, endpoints []peers.Endpoint) (peers.Cluster, error) {
	return &contact{a, endpoints}, nil
}

func (c *contact) Close() error { return nil }

// cluster is what answers: some endpoint's member runs, is reached, and has a leader.
func (c *contact) cluster() (*cell, error) {
	w := c.w
	if c.chance(w.faults.dial) || c.n.apart() {
		return nil, errSlow
	}
	for _, e := range c.endpoints {
		for _, n := range w.nodes {
			if !n.etcd || n.apart() || n.address != e.Address || c.member.ClientURLOf(n.volume.data.name) != e.URL {
				continue
			}
			if cell := n.volume.data.cell; cell.members[n.volume.data.id] != nil && w.leaderOf(cell) != nil {
				return cell, nil
			}
		}
	}
	return nil, errors.New("simulated: nobody that is reached has a leader")
}

func (c *contact) View(ctx context.Context) (view peers.View, err error) {
	err = c.op(ctx, "member list", func() error {
		cell, err := c.cluster()
		if err != nil {
			return err
		}
		view.ClusterID = uint64(cell.number)
		for _, n := range cell.sorted() {
			view.Members = append(view.Members, peers.Member{
				ID: n.id, Name: n.name, PeerURLs: []string{n.peerURL}, ClientURLs: clientURLs(c.member, n.name), Learner: n.learner,
			})
		}
		return nil
	})
	return view, err
}

func clientURLs(member plan.Etcd, name string) []string {
	if name == "" {
		return nil
	}
	return []string{member.ClientURLOf(name)}
}

func (c *cell) sorted() []*seat {
	var all []*seat
	for _, m := range c.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *seat) int { return int(a.id) - int(b.id) })
	return all
}

// change asks for a change, which may be made, refused, or made after the caller gave up.
func (c *contact) change(ctx context.Context, what string, make func(cell *cell) error) error {
	return c.op(ctx, what, func() error {
		cell, err := c.cluster()
		if err != nil {
			return err
		}
		w, who := c.w, c.n.name
		do := func() error {
			if w.leaderOf(cell) == nil {
				return errSlow
			}
			err := make(cell)
			w.tell(who, "etcd: %s: %v", what, err)
			return err
		}
		switch {
		case !c.chance(w.faults.members):
			return do()
		case c.chance(0.3):
			if err := do(); err != nil {
				return err
			}
			return errSlow
		case c.chance(0.5):
			w.tell(who, "etcd: %s is under way for long", what)
			w.later(time.Duration(c.rng.Int64N(int64(time.Minute))), func() { _ = do() })
		}
		return errSlow
	})
}

func (c *contact) AddLearner(ctx context.Context, peerURL string) (id uint64, err error) {
	err = c.change(ctx, "add "+peerURL, func(cell *cell) error {
		for _, m := range cell.members {
			switch {
			case m.peerURL == peerURL:
				return peers.ErrExists
			case m.learner:
				return peers.ErrTooMany
			}
		}
		if c.w.active(cell, 0) < len(cell.voters()) {
			return peers.ErrUnhealthy
		}
		c.w.ids++
		id = c.w.ids
		cell.members[id] = &seat{id: id, peerURL: peerURL, learner: true}
		return nil
	})
	return id, err
}

func (c *contact) Promote(ctx context.Context, id uint64) error {
	return c.change(ctx, fmt.Sprintf("promote %d", id), func(cell *cell) error {
		m := cell.members[id]
		switch {
		case m == nil:
			return peers.ErrNotFound
		case !m.learner:
			return peers.ErrNotLearner
		}
		has := 0
		for _, n := range c.w.running(cell, true) {
			if n.volume.data.id == id {
				has = len(n.volume.data.log)
			}
		}
		if has*10 < len(c.w.leaderOf(cell).volume.data.log)*9 {
			return peers.ErrNotReady
		}
		m.learner = false
		return nil
	})
}

func (c *contact) Remove(ctx context.Context, id uint64) error {
	return c.change(ctx, fmt.Sprintf("remove %d", id), func(cell *cell) error {
		m := cell.members[id]
		if m == nil {
			return peers.ErrNotFound
		}
		if !m.learner {
			voters, named := cell.voters(), 0
			for _, v := range voters {
				if v != m && v.name != "" {
					named++
				}
			}
			left := len(voters) - 1
			if left == 0 || named < left/2+1 {
				return peers.ErrUnhealthy
			}
			others := c.w.active(cell, id)
			if others < c.w.active(cell, 0) && others < left/2+1 { // it runs, and is needed
				return peers.ErrUnhealthy
			}
		}
		delete(cell.members, id)
		cell.removed[id] = true
		return nil
	})
}
