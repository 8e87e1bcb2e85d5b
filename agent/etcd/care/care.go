// Package care looks after a cluster from the node whose member leads it: backups and what was written since, the drill that
// restores one, and upkeep. There is one leader at a time, so nothing of it is done twice; when the leadership moves, what
// is under way here ends, and the next node takes it up from what lies in the store.
package care

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/config"
	"rekindle/agent/etcd"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// Carer looks after one etcd cluster. All fields but Turn and Board are required.
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
}

// The pauses of the loops.
const (
	lookEvery   = 2 * time.Second // whether this node's member leads
	upkeepEvery = time.Minute
	fenceFor    = 2 * time.Second // how long a look at the lineage holds
	termLimit   = 6 * time.Hour   // then certificates are read again
)

// Run looks after the cluster whenever this node's member leads it, until ctx ends.
func (c *Carer) Run(ctx context.Context) {
	for pause(ctx, lookEvery) {
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

func (c *Carer) show(edit func(*status.Etcd)) { c.Board.Etcd(c.Member.Name, edit) }

// term is a time during which this node's member leads, in one generation, with one set of members.
type term struct {
	*Carer
	record *etcd.Lineage
	self   peers.Endpoint
	all    []peers.Endpoint
	client *peers.Client

	mu     sync.Mutex
	fenced error // what the last look at the lineage came to
	looked time.Time
}

// elected is a term if this node's member leads; nil if it does not.
func (c *Carer) elected(ctx context.Context) (*term, error) {
	record, err := c.Keeper.Lineage(ctx, c.Member.Name)
	if err != nil || record == nil || record.State != etcd.Running {
		return nil, err
	}
	t := &term{Carer: c, record: record}
	for _, m := range record.Members {
		e := peers.Endpoint{Name: m.Name, URL: m.ClientURL, Address: m.Address}
		if m.Instance == c.Instance && m.Lost == "" {
			t.self = e
		}
		if m.ClientURL != "" {
			t.all = append(t.all, e)
		}
	}
	if t.self.URL == "" {
		return nil, nil
	}
	if t.client, err = c.Dial(ctx, t.all); err != nil {
		return nil, err
	}
	health, err := t.client.Health(ctx, t.self)
	if err != nil || !health.IsLeader {
		return nil, errors.Join(err, t.client.Close())
	}
	return t, nil
}

// run ends when the member leads no longer, or the lineage has changed.
func (t *term) run(ctx context.Context) error {
	t.Logger.Info("this node's member leads: looking after the cluster", "etcd", t.Member.Name, "generation", t.record.Generation)
	t.show(func(e *status.Etcd) { e.Leads = true })
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return t.until(ctx) })
	group.Go(func() error { t.upkeep(ctx); return nil })
	if !t.Config.Disabled {
		group.Go(func() error { t.backups(ctx); return nil })
		group.Go(func() error { t.drills(ctx); return nil })
	}
	if err := group.Wait(); !errors.Is(err, errOver) {
		return err
	}
	return nil
}

// errOver ends a term.
var errOver = errors.New("the term is over")

// until returns when the term is over. A member that does not answer for a while has other worries.
func (t *term) until(ctx context.Context) error {
	end := time.Now().Add(termLimit)
	for silent := 0; time.Now().Before(end) && pause(ctx, lookEvery); {
		health, err := t.client.Health(ctx, t.self)
		switch {
		case err == nil && !health.IsLeader:
			return errOver
		case err == nil:
			silent = 0
		default:
			if silent++; silent >= 5 {
				return errOver
			}
		}
		record, err := t.Keeper.Lineage(ctx, t.Member.Name)
		if err == nil && !t.same(record) {
			return errOver
		}
	}
	return errOver
}

// same tells whether the lineage has the generation and the members of the term.
func (t *term) same(record *etcd.Lineage) bool {
	return record != nil && record.UID == t.record.UID && record.Generation == t.record.Generation && record.State == etcd.Running &&
		slices.EqualFunc(record.Members, t.record.Members, func(a, b etcd.Member) bool {
			return a.Name == b.Name && a.Instance == b.Instance && a.ClientURL == b.ClientURL && a.Address == b.Address && a.Lost == b.Lost
		})
}

// fence fails with delta.ErrFenced once the lineage went on without this member: what is written then would be another
// generation's. A look holds for two seconds, for a delta asks as often.
func (t *term) fence(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.looked.IsZero() && time.Since(t.looked) < fenceFor {
		return t.fenced
	}
	record, err := t.Keeper.Lineage(ctx, t.Member.Name)
	if err != nil {
		return fmt.Errorf("lineage: %w", err)
	}
	t.fenced, t.looked = nil, time.Now()
	if record == nil || record.UID != t.record.UID || record.Generation != t.record.Generation || record.State != etcd.Running {
		t.fenced = delta.ErrFenced
	}
	return t.fenced
}

// pause waits, within a quarter either way, and tells whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d - d/4 + rand.N(d/2+1)):
		return true
	}
}
