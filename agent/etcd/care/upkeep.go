package care

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rekindle/agent/etcd/peers"
	"rekindle/agent/status"
)

const (
	defragEvery  = time.Hour // how often it is asked whether one is worth it
	compareEvery = 6 * time.Hour
)

// upkeep keeps the members as they should be.
func (t *term) upkeep(ctx context.Context) {
	u := &upkeep{term: t, defragmented: map[string]time.Time{}}
	for wait := lookEvery; pause(ctx, wait); wait = u.next() {
		u.round(ctx)
	}
}

type upkeep struct {
	*term
	busy         bool // the last round changed something: look again soon
	defragmented map[string]time.Time
	asked        time.Time // when a defragmentation was thought of
	compared     time.Time
}

func (u *upkeep) next() time.Duration {
	if u.busy {
		return lookEvery
	}
	return upkeepEvery
}

func (u *upkeep) round(ctx context.Context) {
	did, err := u.Keeper.Reap(ctx, u.Member, u.client)
	u.busy = did != ""
	if did != "" {
		u.Logger.Info("members of etcd", "etcd", u.Member.Name, "did", did)
	}
	u.warn(ctx, "members", err)
	u.healths(ctx)
	u.warn(ctx, "space", u.space(ctx))
	u.warn(ctx, "defragmentation", u.defragment(ctx))
	u.warn(ctx, "comparison", u.compare(ctx))
}

func (u *upkeep) warn(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		u.Logger.Warn("upkeep of etcd", "etcd", u.Member.Name, "what", what, "error", err)
	}
}

// healths asks every member how it is.
func (u *upkeep) healths(ctx context.Context) {
	for _, e := range u.all {
		health, err := u.client.Health(ctx, e)
		u.show(func(s *status.Etcd) {
			for i := range s.Members {
				m := &s.Members[i]
				if m.Name != e.Name {
					continue
				}
				if err != nil {
					m.Health = err.Error()
					continue
				}
				m.Health, m.Version, m.DBSize, m.InUse, m.Quota = "ok", health.Version, health.DBSize, health.DBInUse, health.Quota
				if len(health.Errors) > 0 {
					m.Health = strings.Join(health.Errors, "; ")
				}
			}
		})
	}
}

// space solves a NOSPACE alarm if it can, and shows what is left.
func (u *upkeep) space(ctx context.Context) error {
	all, err := u.client.Alarms(ctx)
	if err != nil {
		return err
	}
	full := false
	for _, a := range all {
		full = full || a.Kind == peers.NoSpace
	}
	var came peers.Space
	if full {
		err = u.inTurn(ctx, func() (err error) {
			came, err = u.client.FreeSpace(ctx, peers.SpaceOptions{})
			return err
		})
		if came.Disarmed {
			u.Logger.Warn("etcd was full: compacted and defragmented", "etcd", u.Member.Name, "compacted", came.Compacted)
			all = nil
		}
	}
	u.show(func(s *status.Etcd) {
		s.Alarms = []string{}
		for _, a := range all {
			text := strings.TrimSpace(a.Kind + " " + a.Name + " " + a.Remedy)
			if a.Kind == peers.NoSpace && came.Advice != "" {
				text += ": " + came.Advice
			}
			s.Alarms = append(s.Alarms, text)
		}
	})
	return err
}

// defragment gives back what deleted keys left, one member at a time.
func (u *upkeep) defragment(ctx context.Context) error {
	if time.Since(u.asked) < defragEvery {
		return nil
	}
	u.asked = time.Now()
	view, err := u.client.View(ctx)
	if err != nil {
		return err
	}
	var all []peers.Health
	for _, e := range u.all {
		if health, err := u.client.Health(ctx, e); err == nil {
			all = append(all, health)
		}
	}
	if step := peers.NextDefrag(view, all, u.defragmented, time.Now(), peers.DefragPolicy{}); step.Member.Name == "" {
		return nil
	}
	return u.inTurn(ctx, func() error {
		done, err := u.client.Defragment(ctx, peers.DefragPolicy{}, u.defragmented)
		if done.Name != "" {
			u.defragmented[done.Name] = time.Now()
			u.asked = time.Time{} // the next member's turn
			u.Logger.Info("defragmented", "etcd", u.Member.Name, "member", done.Name)
		}
		return err
	})
}

// compare has all members hash what they hold.
func (u *upkeep) compare(ctx context.Context) error {
	if len(u.all) < 2 || time.Since(u.compared) < compareEvery {
		return nil
	}
	u.compared = time.Now()
	result, err := u.client.CompareHashes(ctx)
	if err != nil {
		return err
	}
	text := string(result.Outcome)
	switch result.Outcome {
	case peers.Differs:
		text = fmt.Sprintf("differs: %s (%s)", strings.Join(result.Minority, ", "), result.Why)
		u.Logger.Error("etcd's members hold different data", "etcd", u.Member.Name, "minority", result.Minority, "why", result.Why)
	case peers.NotComparable:
		text += ": " + result.Why
		u.compared = time.Now().Add(-compareEvery + 10*time.Minute)
	}
	u.show(func(s *status.Etcd) { s.Equal, s.Compared = text, time.Now() })
	return nil
}

// inTurn does what disturbs the cluster when it is this node's turn.
func (u *upkeep) inTurn(ctx context.Context, do func() error) error {
	if u.Turn == nil {
		return do()
	}
	done, err := u.Turn(ctx)
	if err != nil {
		return err
	}
	err = do()
	return errors.Join(err, done(ctx, err))
}
