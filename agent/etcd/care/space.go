package care

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rekindle/agent/etcd/peers"
	"rekindle/agent/status"
)

// space solves a NOSPACE alarm if it can, and notes what is left.
func (u *upkeep) space(ctx context.Context) error {
	all, err := u.members.Alarms(ctx)
	if err != nil {
		return err
	}
	var came peers.Space
	if slices.ContainsFunc(all, func(a peers.Alarm) bool { return a.Kind == peers.NoSpace }) {
		err = u.inTurn(ctx, func(ctx context.Context) (err error) {
			came, err = u.members.FreeSpace(ctx, peers.SpaceOptions{})
			return err
		})
	}
	if came.Disarmed {
		u.Logger.Warn("etcd was full: compacted and defragmented", "etcd", u.Member.Name, "compacted", came.Compacted)
		all = slices.DeleteFunc(all, func(a peers.Alarm) bool { return a.Kind == peers.NoSpace })
	}
	u.alarms = nil
	for _, a := range all {
		text := strings.TrimSpace(a.Kind + " " + a.Name + " " + a.Remedy)
		if a.Kind == peers.NoSpace && came.Advice != "" {
			text += ": " + came.Advice
		}
		u.alarms = append(u.alarms, text)
	}
	return err
}

// defragment gives back what deleted keys left, one member at a time.
func (u *upkeep) defragment(ctx context.Context) error {
	if time.Since(u.asked) < defragEvery {
		return nil
	}
	u.asked = time.Now()
	view, err := u.members.View(ctx)
	if err != nil {
		return err
	}
	var all []peers.Health
	for _, e := range u.all {
		if health, err := u.members.Health(ctx, e); err == nil && health.ClusterID == u.cluster {
			all = append(all, health)
		}
	}
	if step := peers.NextDefrag(view, all, u.kept.defragmented, time.Now(), peers.DefragPolicy{}); step.Member.Name == "" {
		return nil // nobody's turn is taken for nothing
	}
	return u.inTurn(ctx, func(ctx context.Context) error {
		done, err := u.members.Defragment(ctx, peers.DefragPolicy{}, u.kept.defragmented)
		if done.Name != "" {
			u.kept.defragmented[done.Name] = time.Now()
			u.asked = time.Time{} // the next member's turn
			u.Logger.Info("defragmented", "etcd", u.Member.Name, "member", done.Name)
		}
		return err
	})
}

// inTurn does what disturbs the cluster when it is this node's turn. A leader hands over before it is defragmented, which
// ends its term: what was begun goes on, and keeps the turn, until it is done.
func (u *upkeep) inTurn(ctx context.Context, do func(context.Context) error) error {
	done := func(context.Context, error) error { return nil }
	if u.Turn != nil {
		waiting, cancel := context.WithTimeoutCause(ctx, u.pace.turn, errors.New("another node has its turn"))
		defer cancel()
		var err error
		if done, err = u.Turn(waiting); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(u.life, turnLimit, fmt.Errorf("not done within %s", turnLimit))
	defer cancel()
	err := do(ctx)
	return errors.Join(err, done(ctx, err))
}

// comparisons has all members hash what they hold, now and then.
func (t *term) comparisons(ctx context.Context) {
	for wait := min(t.pace.upkeep, t.pace.compare); pause(ctx, wait); wait = min(compareSoon, t.pace.compare) {
		if time.Since(t.kept.compared) < t.pace.compare {
			continue
		}
		if err := t.compare(ctx); err != nil && ctx.Err() == nil {
			t.Logger.Warn("upkeep of etcd", "etcd", t.Member.Name, "what", "comparison", "error", err)
			if t.kept.equal == "" {
				t.show(func(s *status.Etcd) { s.Equal = "not compared: " + err.Error() })
			}
		}
	}
}

func (t *term) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, compareLimit)
	defer cancel()
	record, err := t.Keeper.Lineage(ctx, t.Member.Name)
	if err != nil || !t.stands(record) || len(endpoints(record)) < 2 {
		return err
	}
	members, err := t.dialAll(ctx, endpoints(record))
	if err != nil {
		return err
	}
	defer members.Close()
	result, err := members.CompareHashes(ctx)
	if err != nil {
		return err
	}
	text := string(result.Outcome)
	switch result.Outcome {
	case peers.Equal:
		t.kept.compared = time.Now()
	case peers.Differs:
		t.kept.compared = time.Now()
		text = fmt.Sprintf("differs: %s (%s)", strings.Join(result.Minority, ", "), result.Why)
		t.Logger.Error("etcd's members hold different data", "etcd", t.Member.Name, "minority", result.Minority, "why", result.Why)
	case peers.NotComparable: // again soon
		text += ": " + result.Why
	}
	t.kept.equal = text
	t.show(func(s *status.Etcd) { s.Equal, s.Compared = text, time.Now() })
	return nil
}
