package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	ran    bool      // it has run since its data was last seen to be gone
}

// bereft stops whoever would start etcd again where the data that it ran on is gone: a member that begins anew under its old
// id has forgotten what it voted for and acknowledged.
func (w *watch) bereft(ctx context.Context) error {
	gone, err := w.Disk.Gone(ctx, w.member)
	if err != nil || !gone {
		return err
	}
	w.Logger.Warn("the data of etcd is gone", "etcd", w.member.Name)
	if err := w.Halt(ctx, w.member); err != nil {
		return err
	}
	w.ran = false
	w.resync("etcd " + w.member.Name + ": its data is gone")
	return nil
}

func (w *watch) look(ctx context.Context) error {
	busy, err := w.Disk.Busy(ctx, w.member)
	if err != nil {
		return err
	}
	if !busy {
		if w.ran {
			if err := w.bereft(ctx); err != nil {
				return err
			}
		}
		if w.down.IsZero() {
			w.down = time.Now()
		}
		if time.Since(w.down) >= downAfter {
			w.down = time.Now()
			w.resync("etcd " + w.member.Name + " does not run")
		}
		return nil
	}
	w.down, w.ran = time.Time{}, true
	facts, halted, err := w.guard(ctx, w.member)
	if halted != "" {
		w.resync("etcd " + w.member.Name + ": " + halted)
	}
	if err != nil || halted != "" || facts.Found.State != datadir.Busy || facts.Record == nil {
		return err
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

// guard stops a member that may not run on, and says why.
func (k *Keeper) guard(ctx context.Context, member plan.Etcd) (facts Facts, halted string, err error) {
	facts, _, err = k.observe(ctx, member)
	if err != nil || facts.Found.State != datadir.Busy {
		return facts, "", err
	}
	action := k.decide(ctx, member, &facts)
	if action.Verdict != Halt {
		return facts, "", nil
	}
	k.Logger.Warn("stopping etcd", "etcd", member.Name, "why", action.Why)
	err = k.Halt(ctx, member)
	if err == nil {
		k.memory().of(member.Name, func(w *watching) { w.halted, w.halts = action.Why, w.halts+1 })
	}
	return facts, action.Why, err
}

// halted is how often a guard has stopped the member, and why the last time.
func (k *Keeper) halted(member plan.Etcd) (times int, why string) {
	k.memory().of(member.Name, func(w *watching) { times, why = w.halts, w.halted })
	return times, why
}

// How a member is looked at that does not serve yet: how often, and how long it may be down before that needs another
// decision. The list of members with which a learner is to start may be out of date, or its place may be gone.
const (
	guardEvery   = 5 * time.Second
	startsWithin = 2 * time.Minute
)

// guarding ends ctx when the member was stopped, or does not start: what it waits for would never come.
func (k *Keeper) guarding(ctx context.Context, member plan.Etcd) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	before, _ := k.halted(member)
	var group sync.WaitGroup
	group.Go(func() {
		for ran := time.Now(); ctx.Err() == nil; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(k.jittered(guardEvery)):
			}
			facts, _, err := k.guard(ctx, member)
			times, why := k.halted(member)
			switch {
			case err != nil:
				k.Logger.Info("etcd watch", "etcd", member.Name, "error", err)
			case times != before: // by Watch, or just now
				end(fmt.Errorf("etcd %s was stopped: %s", member.Name, why))
			case facts.Found.State == datadir.Busy:
				ran = time.Now()
			case time.Since(ran) >= startsWithin:
				end(fmt.Errorf("etcd %s has not run for %s", member.Name, startsWithin))
			}
		}
	})
	return ctx, func() {
		end(nil)
		group.Wait()
	}
}

// unfinished tells whether Confirm has something left to do.
func (w *watch) unfinished(facts Facts) bool {
	mine := facts.Record.named(facts.Found.Marker.Member)
	return mine != nil && mine.Instance == w.Instance && (facts.Record.State != Running || facts.Found.Marker.Fresh || mine.Learner)
}
