package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// self is this node's member under a name.
func (k *Keeper) self(member plan.Etcd, name string) Member {
	return Member{
		Name: name, Instance: k.Instance, Address: member.Address,
		PeerURL: member.PeerURLOf(name), ClientURL: member.ClientURLOf(name),
	}
}

// create swaps in the first record of a cluster that never was.
func (k *Keeper) create(ctx context.Context, member plan.Etcd, was store.Version) error {
	if err := k.selfTest(ctx, member.Name); err != nil {
		return err
	}
	uid := nonce()
	record := &Lineage{
		UID: uid, Generation: 1, State: Creating, Token: tokenOf(uid, 1),
		Members: []Member{k.self(member, member.Member)},
	}
	return k.opened(ctx, member, record, was)
}

// createAgain takes the place of a holder that is gone before the cluster ever served.
func (k *Keeper) createAgain(ctx context.Context, member plan.Etcd, now *Lineage, was store.Version) error {
	return k.opened(ctx, member, k.next(member, now, Creating, member.Member), was)
}

// next is the record of a new generation, whose one member is this node's.
func (k *Keeper) next(member plan.Etcd, now *Lineage, state, name string) *Lineage {
	return &Lineage{
		UID: now.UID, Generation: now.Generation + 1, State: state, Token: tokenOf(now.UID, now.Generation+1),
		Members: []Member{k.self(member, name)},
	}
}

// opened swaps in a record that lets this node start the first member, and marks the directory for it. Cut between the two,
// the next look finds a record without a marker, and begins yet another generation.
func (k *Keeper) opened(ctx context.Context, member plan.Etcd, record *Lineage, was store.Version) error {
	if err := k.swap(ctx, member.Name, record, was); err != nil {
		return err
	}
	if err := k.Notes.Clear(member); err != nil {
		return err
	}
	return k.Disk.Mark(ctx, member, k.marker(record, record.Members[0].Name, true))
}

func (k *Keeper) marker(record *Lineage, name string, fresh bool) datadir.Marker {
	return datadir.Marker{
		UID: record.UID, Generation: record.Generation, Member: name, Token: record.Token, Instance: k.Instance, Fresh: fresh,
	}
}

// start returns the configuration of a member that has its data. The marker names this instance from here on, in case a swap
// that said so was the last thing done.
func (k *Keeper) start(ctx context.Context, member plan.Etcd, marker datadir.Marker) ([]byte, error) {
	if marker.Instance != k.Instance {
		marker.Instance = k.Instance
		if err := k.Disk.Mark(ctx, member, marker); err != nil {
			return nil, err
		}
	}
	return k.config(member, marker, "existing", nil)
}

// claim says in the record that the data of a member is here, and good: it came with a volume, or came back.
func (k *Keeper) claim(ctx context.Context, member plan.Etcd, facts Facts, was store.Version) error {
	record := facts.Record.clone()
	mine := record.named(facts.Found.Marker.Member)
	own := k.self(member, mine.Name)
	own.Learner, own.PeerURL = mine.Learner, mine.PeerURL // the peer URL is what etcd's own list has
	*mine = own
	if former := find(record.Former, func(m Member) bool { return m.Name == mine.Name }); former != nil {
		former.Instance, former.Address, former.Lost = mine.Instance, mine.Address, ""
	}
	if err := k.swap(ctx, member.Name, record, was); err != nil {
		return err
	}
	marker := *facts.Found.Marker
	marker.Instance = k.Instance
	if err := k.Disk.Mark(ctx, member, marker); err != nil {
		return err
	}
	return k.Notes.Clear(member)
}

// report says in the record that the data that was on this instance is gone. The note comes first: a volume that turns up
// afterwards starts only after a swap.
func (k *Keeper) report(ctx context.Context, member plan.Etcd, now *Lineage, was store.Version) error {
	record := now.clone()
	for _, members := range [][]Member{record.Members, record.Former} {
		if mine := find(members, func(m Member) bool { return m.Instance == k.Instance }); mine != nil {
			mine.Lost, mine.Position = "disk", nil
		}
	}
	if err := k.Notes.Set(member, "the data of its member is not here"); err != nil {
		return err
	}
	return k.swap(ctx, member.Name, record, was)
}

// position says in the record how far this node's log goes.
func (k *Keeper) position(ctx context.Context, member plan.Etcd, facts Facts, was store.Version) error {
	record := facts.Record.clone()
	at := facts.Found.Position
	record.named(facts.Found.Marker.Member).Position = &at
	if err := k.Notes.Set(member, fmt.Sprintf("at term %d, index %d, without a quorum", at.Term, at.Index)); err != nil {
		return err
	}
	return k.swap(ctx, member.Name, record, was)
}

// restore begins a generation from a backup, unless that is done, and makes its data.
func (k *Keeper) restore(ctx context.Context, member plan.Etcd, facts Facts, was store.Version) error {
	record := facts.Record
	if s := (&sight{Facts: facts}); record.State != Restoring || !s.holds() || !s.fresh() {
		next := k.next(member, record, Restoring, member.Member)
		next.Backup = facts.Backups.Entries[0].ID
		return k.opened(ctx, member, next, was)
	}
	entries, err := k.Ask.Backups(ctx, member.Name)
	if err != nil {
		return again("the backups cannot be listed: %v", err)
	}
	// Those of this very generation cannot be: it has not served.
	entries = slices.DeleteFunc(entries, func(e backup.Entry) bool { return e.Generation >= record.Generation })
	return k.build(ctx, member, Build{Marker: *facts.Found.Marker, Backups: entries})
}

// rescue begins a generation from this node's own data, unless that is done, and makes its data.
func (k *Keeper) rescue(ctx context.Context, member plan.Etcd, facts Facts, was store.Version) error {
	record := facts.Record
	if s := (&sight{Facts: facts}); record.State != Rescuing || !s.holds() {
		next := k.next(member, record, Rescuing, facts.Found.Marker.Member)
		s := &sight{Facts: facts}
		next.Former, next.FormerGeneration = record.rescuers(s.gone), facts.Found.Marker.Generation
		if record.State == Rescuing {
			next.Former = record.Former
		}
		if err := k.swap(ctx, member.Name, next, was); err != nil {
			return err
		}
		return k.Notes.Clear(member) // how far the log went was said in a record that is past
	}
	entries, err := k.Ask.Backups(ctx, member.Name)
	if err != nil {
		return again("the backups cannot be listed: %v", err)
	}
	// Only those of the generation that is rescued can be ahead of what is here.
	entries = slices.DeleteFunc(entries, func(e backup.Entry) bool { return e.Generation != record.FormerGeneration })
	err = k.build(ctx, member, Build{Marker: k.marker(record, record.Members[0].Name, true), Own: true, Backups: entries})
	if errors.Is(err, ErrNothingToBuild) {
		return k.report(ctx, member, record, was) // another survivor takes over, or whoever restores
	}
	return err
}

// build makes the data. If another generation begins meanwhile, the next look finds it, before anything starts.
func (k *Keeper) build(ctx context.Context, member plan.Etcd, order Build) error {
	defer status.Waiting(ctx, "etcd "+member.Name+": data", "the data of generation "+fmt.Sprint(order.Marker.Generation))()
	start := time.Now()
	built, err := k.Disk.Build(ctx, member, order)
	if errors.Is(err, ErrNothingToBuild) {
		return status.Fail(status.ReasonEtcdBlocked, hintBackup, err)
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return again("%v", err)
	}
	for _, warning := range built.Warnings {
		k.Logger.Warn("etcd data", "etcd", member.Name, "warning", warning)
	}
	k.Logger.Info("etcd data made", "etcd", member.Name, "backup", built.Backup, "revision", built.Revision)
	if k.Made != nil {
		k.Made(member, order, built, time.Since(start))
	}
	return nil
}
