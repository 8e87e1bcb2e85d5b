package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/store"
)

// How long things must last, by this node's own clock, before they mean something.
const (
	stuckAfter      = 10 * time.Minute // a change of membership that does not move
	leaderlessAfter = 30 * time.Second // a member that knows no leader: many elections fit in
)

// Memory is what keepers of one agent remember between two looks. It outlives an attempt to boot.
type Memory struct {
	mu   sync.Mutex
	seen map[string]*watching // by cluster
	// missing is since when EC2 has not found an instance.
	missing map[string]time.Time
}

// memory is the keeper's, or one that ends with it.
func (k *Keeper) memory() *Memory {
	if k.Memory != nil {
		return k.Memory
	}
	return &k.own
}

type watching struct {
	version    store.Version
	since      time.Time            // when the record was first seen at that version
	leaderless time.Time            // since when; zero: there is a leader
	gone       map[string]time.Time // since when a voter, by name, is known to be gone
	halts      int                  // how often a guard stopped etcd
	halted     string               // why, the last time
}

// of gives what is remembered of a cluster to look at and change.
func (m *Memory) of(cluster string, look func(*watching)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[string]*watching{}
	}
	w := m.seen[cluster]
	if w == nil {
		w = new(watching)
		m.seen[cluster] = w
	}
	look(w)
}

// observe gathers what every decision needs. Its error is about this machine; what the store does not tell is a fact.
func (k *Keeper) observe(ctx context.Context, member plan.Etcd) (Facts, store.Version, error) {
	facts := Facts{Self: k.Instance}
	var err error
	if facts.Found, err = k.Disk.Inspect(ctx, member); err != nil {
		return facts, "", err
	}
	if facts.Reported, err = k.Notes.Has(member); err != nil {
		return facts, "", err
	}
	record, version, err := k.read(ctx, member.Name)
	if errors.Is(err, store.ErrAbsent) {
		err = nil
	}
	facts.Record, facts.RecordUnknown = record, err
	leads := facts.Found.State != datadir.Busy || k.Leads == nil || k.Leads(ctx, member)

	now := time.Now()
	k.memory().of(member.Name, func(w *watching) {
		if err == nil && w.version != version {
			w.version, w.since = version, now
		}
		facts.Stuck = record != nil && record.Change != nil && now.Sub(w.since) >= stuckAfter
		switch {
		case leads:
			w.leaderless = time.Time{}
		case w.leaderless.IsZero():
			w.leaderless = now
		}
		facts.Leaderless = !leads && now.Sub(w.leaderless) >= leaderlessAfter
	})
	return facts, version, nil
}

// read returns the record; nil and store.ErrAbsent when the store says that there is none.
func (k *Keeper) read(ctx context.Context, cluster string) (*Lineage, store.Version, error) {
	raw, version, err := k.Records.Get(ctx, Key(cluster))
	if err != nil {
		return nil, "", err
	}
	record, err := ParseLineage(raw)
	return record, version, err
}

// Lineage is the record as the store has it now; nil when there is none.
func (k *Keeper) Lineage(ctx context.Context, cluster string) (*Lineage, error) {
	record, _, err := k.read(ctx, cluster)
	if errors.Is(err, store.ErrAbsent) {
		return nil, nil
	}
	return record, err
}

// trace asks whether the cluster has lived: its record or a backup is in the store, or was.
func (k *Keeper) trace(ctx context.Context, member plan.Etcd) *Trace {
	for _, prefix := range []string{Key(member.Name), backup.Prefix(member.Name)} {
		if found, err := k.Ask.Trace(ctx, prefix); err != nil || found {
			return &Trace{Found: found, Unknown: err}
		}
	}
	return new(Trace)
}

// quorum asks the other members for a list that a majority vouches for.
func (k *Keeper) quorum(ctx context.Context, member plan.Etcd, record *Lineage) *Quorum {
	cluster, err := k.dial(ctx, member, record)
	if err != nil {
		return &Quorum{Why: err.Error()}
	}
	defer cluster.Close()
	if _, err := cluster.View(ctx); err != nil {
		return &Quorum{Why: err.Error()}
	}
	return &Quorum{Reachable: true}
}

// dial speaks to the members that the record lists, but for this instance's, which does not run, and for the lost.
func (k *Keeper) dial(ctx context.Context, member plan.Etcd, record *Lineage) (peers.Cluster, error) {
	var endpoints []peers.Endpoint
	for _, m := range record.Members {
		if m.Instance != k.Instance && m.Lost == "" && m.ClientURL != "" {
			endpoints = append(endpoints, peers.Endpoint{Name: m.Name, URL: m.ClientURL, Address: m.Address})
		}
	}
	if len(endpoints) == 0 {
		return nil, peers.ErrNotDefined
	}
	return k.Ask.Dial(ctx, member, endpoints)
}

func (k *Keeper) instances(ctx context.Context, record *Lineage) *Instances {
	ids := []string{record.Holder.Instance}
	for _, m := range record.Members {
		ids = append(ids, m.Instance)
	}
	for _, m := range record.Former {
		ids = append(ids, m.Instance)
	}
	if record.Change != nil {
		ids = append(ids, record.Change.Instance)
	}
	word, err := k.Ask.Instances(ctx, ids)
	if err != nil {
		return &Instances{Unknown: err}
	}
	return &word
}
