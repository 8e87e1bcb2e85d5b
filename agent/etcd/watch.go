package etcd

import (
	"context"
	"errors"
	"time"

	"rekindle/agent/etcd/datadir"
	"rekindle/agent/plan"
	"rekindle/agent/store"
)

// Watch looks at the record every few seconds while the member runs, until ctx ends. A member that the record no longer has
// here is stopped at once; names of members that came are made known; a change of the member's own is brought to its end.
// resync is called when the plan has to be applied again.
func (k *Keeper) Watch(ctx context.Context, member plan.Etcd, every time.Duration, resync func(why string)) {
	w := &watch{Keeper: k, member: member, resync: resync}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(k.jittered(every)):
		}
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			k.Logger.Warn("etcd watch", "etcd", member.Name, "error", err)
		}
	}
}

// downAfter is how long a member may be down before the plan is applied again: whoever runs it restarts it by itself.
const downAfter = 30 * time.Second

type watch struct {
	*Keeper
	member plan.Etcd
	resync func(string)
	down   time.Time // since when etcd does not run
}

func (w *watch) look(ctx context.Context) error {
	busy, err := w.Disk.Busy(ctx, w.member)
	if err != nil {
		return err
	}
	if !busy {
		if w.down.IsZero() {
			w.down = time.Now()
		}
		if time.Since(w.down) >= downAfter {
			w.down = time.Now()
			w.resync("etcd " + w.member.Name + " does not run")
		}
		return nil
	}
	w.down = time.Time{}
	facts, _, err := w.observe(ctx, w.member)
	if err != nil {
		return err
	}
	if facts.Found.State != datadir.Busy {
		return nil // it ended just now
	}
	if action := w.decide(ctx, w.member, &facts); action.Verdict == Halt {
		w.Logger.Warn("stopping etcd", "etcd", w.member.Name, "why", action.Why)
		err := w.Halt(ctx, w.member)
		w.resync("etcd " + w.member.Name + ": " + action.Why)
		return err
	}
	if facts.Record == nil {
		return nil
	}
	if err := w.tellHosts(ctx, w.member, facts.Record); err != nil {
		return err
	}
	if w.unfinished(facts) && w.serves(ctx) {
		_, err := w.confirm(ctx, w.member)
		if errors.Is(err, errAgain) || errors.Is(err, store.ErrConflict) {
			err = nil
		}
		return err
	}
	return nil
}

// serves asks the member once: what has not served is not confirmed.
func (w *watch) serves(ctx context.Context) bool {
	if w.Well == nil {
		return Healthy(ctx, w.member) == nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return w.Well(ctx, w.member) == nil
}

// unfinished tells whether Confirm has something left to do.
func (w *watch) unfinished(facts Facts) bool {
	mine := facts.Record.named(facts.Found.Marker.Member)
	return mine != nil && mine.Instance == w.Instance && (facts.Record.State != Running || facts.Found.Marker.Fresh || mine.Learner)
}
