// Package care looks after a cluster from the node whose member leads it: backups and what was written since, the drill that
// restores one, and upkeep. There is one leader at a time, so nothing of it is done twice; when the leadership moves, what
// is under way here ends, and the next node takes it up from what lies in the store.
//
// Nothing here can stop etcd, or be the reason for another part of it to stop: what fails is shown and tried again.
package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"rekindle/agent/config"
	"rekindle/agent/etcd"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// Carer looks after one etcd cluster. All fields but Turn, Offline and Board are required.
type Carer struct {
	Member   plan.Etcd
	Instance string
	Config   config.EtcdBackup
	Store    store.Store
	Keeper   *etcd.Keeper
	Dial     func(ctx context.Context, endpoints []peers.Endpoint) (*peers.Client, error)
	// Path is where a path of the node really lies.
	Path func(path string) (string, error)
	// Turn waits until this node may disturb the cluster; nil: it always may.
	Turn    func(ctx context.Context) (done func(context.Context, error) error, err error)
	Offline datadir.Options // how a restored directory is inspected
	Board   *status.Board
	Logger  *slog.Logger

	pace pace
	kept kept
	free func(dir string) (int64, error) // nil: the file system is asked
}

// pace is how long the pauses are. A zero field is what production uses; tests are in a hurry.
type pace struct {
	look    time.Duration // between two looks whether this node's member leads; 2 s
	due     time.Duration // between two looks at what is in the store, at most; 1 min
	retry   time.Duration // after a first failure; 5 s. It doubles
	upkeep  time.Duration // between two rounds of upkeep; 1 min
	turn    time.Duration // how long a round waits for its turn; 1 min
	drill   time.Duration // between two looks whether a drill is due, at most; 5 min
	asides  time.Duration // between two looks at data that was set aside; 1 h
	compare time.Duration // between two comparisons of hashes; 6 h
	held    int           // bytes that one of two streams of deltas holds in memory, at most; 32 MiB
}

func (p pace) complete() pace {
	return pace{
		look: cmp.Or(p.look, 2*time.Second), due: cmp.Or(p.due, time.Minute), retry: cmp.Or(p.retry, 5*time.Second),
		upkeep: cmp.Or(p.upkeep, time.Minute), turn: cmp.Or(p.turn, time.Minute), drill: cmp.Or(p.drill, 5*time.Minute),
		asides: cmp.Or(p.asides, time.Hour), compare: cmp.Or(p.compare, 6*time.Hour),
		held: cmp.Or(p.held, 32<<20),
	}
}

// kept is what a node remembers from one of its terms to the next. Terms come one after the other.
type kept struct {
	anew         spacing              // full backups before their time
	defragmented map[string]time.Time // by member
	compared     time.Time
	equal        string // what that comparison came to
}

// Run looks after the cluster whenever this node's member leads it, and after what was set aside here, until ctx ends.
func (c *Carer) Run(ctx context.Context) {
	c.pace = c.pace.complete()
	c.kept.defragmented = map[string]time.Time{}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { c.asides(ctx) })
	if err := c.clearScratch(); err != nil {
		c.Logger.Warn("restore drill: what an earlier one left", "etcd", c.Member.Name, "error", err)
	}
	for pause(ctx, c.pace.look) {
		term, err := c.elected(ctx)
		if err == nil && term != nil {
			err = errors.Join(term.run(ctx), term.client.Close())
			c.show(func(e *status.Etcd) { e.Leads = false })
		}
		if err != nil && ctx.Err() == nil {
			c.Logger.Info("looking after etcd", "etcd", c.Member.Name, "error", err)
		}
	}
}

func (c *Carer) show(edit func(*status.Etcd)) {
	if c.Board != nil {
		c.Board.Etcd(c.Member.Name, edit)
	}
}

// electedLimit bounds one look whether this node's member leads.
const electedLimit = 30 * time.Second

// elected is a term if this node's member leads, by its own word and a quorum's; nil if it does not.
func (c *Carer) elected(ctx context.Context) (*term, error) {
	ctx, cancel := context.WithTimeout(ctx, electedLimit)
	defer cancel()
	record, err := c.Keeper.Lineage(ctx, c.Member.Name)
	if err != nil || record == nil || record.State != etcd.Running {
		return nil, err
	}
	mine := c.mine(record)
	if mine == nil {
		return nil, nil
	}
	t := &term{Carer: c, record: record, mine: *mine, self: endpoint(*mine), gate: make(chan struct{}, 1)}
	if t.client, err = c.Dial(ctx, []peers.Endpoint{t.self}); err != nil {
		return nil, err
	}
	health, err := t.client.Health(ctx, t.self)
	if err != nil || !health.IsLeader {
		return nil, errors.Join(err, t.client.Close())
	}
	view, err := t.client.View(ctx)
	if err == nil && view.ClusterID != health.ClusterID {
		err = fmt.Errorf("%s answered for the clusters %x and %x", t.self.Name, health.ClusterID, view.ClusterID)
	}
	if err != nil {
		return nil, errors.Join(err, t.client.Close())
	}
	t.cluster = view.ClusterID
	return t, nil
}

// mine is the member on this instance, nil without one that can be asked.
func (c *Carer) mine(record *etcd.Lineage) *etcd.Member {
	for i, m := range record.Members {
		if m.Instance == c.Instance && m.Lost == "" && m.ClientURL != "" {
			return &record.Members[i]
		}
	}
	return nil
}

func endpoint(m etcd.Member) peers.Endpoint {
	return peers.Endpoint{Name: m.Name, URL: m.ClientURL, Address: m.Address}
}

// endpoints are those of all members that may answer.
func endpoints(record *etcd.Lineage) []peers.Endpoint {
	var all []peers.Endpoint
	for _, m := range record.Members {
		if m.ClientURL != "" && m.Lost == "" {
			all = append(all, endpoint(m))
		}
	}
	return all
}

// pause waits, within a quarter either way, and tells whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(jittered(d)):
		return true
	}
}

func jittered(d time.Duration) time.Duration { return d - d/4 + rand.N(d/2+1) }
