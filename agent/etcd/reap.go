package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/store"
)

// replacedWithin is how long a voter that is gone stays a member when nobody comes to replace it: whoever joins removes it
// first. After that the group has become smaller, and the dead must not count in the quorum for ever.
const replacedWithin = 10 * time.Minute

// Reap brings record and etcd together, one step a call: it ends changes whose instance is gone, lists members that were
// added by hand, drops those that etcd has no longer, and removes the gone. The node whose member leads calls it now and
// then. It says what it did.
func (k *Keeper) Reap(ctx context.Context, member plan.Etcd, cluster peers.Cluster) (did string, err error) {
	record, was, err := k.read(ctx, member.Name)
	if err != nil || record.State != Running {
		return "", err
	}
	view, err := cluster.View(ctx)
	if err != nil {
		return "", err
	}
	facts := Facts{Self: k.Instance, Record: record, Stuck: k.stuck(member.Name, record, was)}
	c := &changer{Keeper: k, member: member, facts: facts, was: was, cluster: cluster, view: view}
	did, err = c.reap(ctx)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, errAgain) {
		return "", nil // somebody else is at it, or it cannot be done now
	}
	return did, err
}

// stuck tells whether the record's change has not moved for a while.
func (k *Keeper) stuck(cluster string, record *Lineage, version store.Version) (stuck bool) {
	k.memory().of(cluster, func(w *watching) {
		if w.version != version {
			w.version, w.since = version, time.Now()
		}
		stuck = record.Change != nil && time.Since(w.since) >= stuckAfter
	})
	return stuck
}

func (c *changer) reap(ctx context.Context) (string, error) {
	record := c.facts.Record
	if missing := c.unlisted(); len(missing) > 0 {
		return "listed what was added by hand", c.list(ctx, missing)
	}
	if record.Change != nil {
		return c.reapChange(ctx, *record.Change)
	}
	if amended := c.amended(); amended != nil {
		return "brought the lineage up to what etcd says", c.swap(ctx, c.member.Name, amended, c.was)
	}
	if len(c.view.Members) < 2 {
		return "", nil // a last member is never removed
	}
	c.facts.Instances = c.instances(ctx, record)
	s := &sight{Facts: c.facts}
	for _, m := range record.Members {
		if m.Instance == c.Instance || !s.gone(m) && !c.unclaimed(m) || !c.overdue(m) {
			continue
		}
		return "removing " + m.Name, c.begin(ctx, Change{Kind: Remove, Member: m.Name}, nil)
	}
	return "", nil
}

// unclaimed tells whether a learner was listed only since etcd had it, and never started. Somebody added it by hand, or
// etcd did it late, after whoever asked for it was given up.
func (c *changer) unclaimed(m Member) bool {
	there := c.inView(m)
	return m.Learner && m.Instance == unknownInstance && there != nil && there.Name == ""
}

// reapChange goes on with a change of this instance that removes somebody, and takes over those of the gone. A member that
// is joining brings its own change to its end.
func (c *changer) reapChange(ctx context.Context, change Change) (string, error) {
	if change.Instance == c.Instance {
		if own := c.facts.Record.on(c.Instance); change.Kind != Remove && own != nil && own.Name == change.Member {
			return "", nil
		}
		return fmt.Sprintf("%s %s", change.Kind, change.Member), c.finish(ctx)
	}
	return "took a change over", c.takeOver(ctx)
}

// amended is the record as etcd's list has it, or nil when it is: without those that etcd has no longer, and with voters
// that somebody else promoted.
func (c *changer) amended() *Lineage {
	record := c.facts.Record.clone()
	changed := false
	record.Members = slices.DeleteFunc(record.Members, func(m Member) bool {
		dropped := c.inView(m) == nil
		changed = changed || dropped
		return dropped
	})
	for i := range record.Members {
		m := &record.Members[i]
		if there := c.inView(*m); m.Learner != there.Learner {
			m.Learner, changed = there.Learner, true
		}
	}
	if !changed || len(record.Members) == 0 {
		return nil
	}
	return record
}

// overdue tells whether a member that is gone has to go now. A learner does at once, for it keeps others from joining;
// but one that was added by hand gets the time to be started.
func (c *changer) overdue(m Member) bool {
	if m.Learner && m.Instance != unknownInstance {
		return true
	}
	overdue := false
	c.memory().of(c.member.Name, func(w *watching) {
		if w.gone == nil {
			w.gone = map[string]time.Time{}
		}
		if w.gone[m.Name].IsZero() {
			w.gone[m.Name] = time.Now()
		}
		overdue = time.Since(w.gone[m.Name]) >= replacedWithin
	})
	return overdue
}
