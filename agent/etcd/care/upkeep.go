package care

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"rekindle/agent/etcd/delta"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/status"
)

const (
	reapLimit    = 2 * time.Minute
	stepLimit    = time.Minute   // what only asks
	turnLimit    = 2 * time.Hour // what disturbs: a slow disk copies 5 MiB a second, and there are several members
	defragEvery  = time.Hour     // how often it is asked whether one is worth it
	compareLimit = 30 * time.Minute
	compareSoon  = 10 * time.Minute // after one that came to nothing
	shownAfter   = 3                // rounds in which a step failed, before it is shown as an alarm
)

// upkeep keeps the members as they should be.
func (t *term) upkeep(ctx, life context.Context) {
	u := &upkeep{term: t, life: life, failing: map[string]int{}}
	defer u.hangUp()
	for wait := t.pace.look; pause(ctx, wait); wait = u.next() {
		u.round(ctx)
	}
}

type upkeep struct {
	*term
	life    context.Context //nolint:containedctx // outlives the round: see inTurn
	all     []peers.Endpoint
	members *peers.Client // to all of them; nil: nobody could be asked
	busy    bool          // the last round changed something: look again soon
	asked   time.Time     // when a defragmentation was thought of
	alarms  []string
	failing map[string]int // rounds in succession, by step
	failed  []string       // in this round
}

func (u *upkeep) next() time.Duration {
	if u.busy {
		return u.pace.look
	}
	return u.pace.upkeep
}

// round does one thing after the other; none is the reason that another is not done.
func (u *upkeep) round(ctx context.Context) {
	u.busy, u.failed = false, nil
	if u.step(ctx, "asking the members", stepLimit, u.dial) {
		u.step(ctx, "members", reapLimit, u.reap)
		u.healths(ctx)
		u.step(ctx, "space", turnLimit, u.space)
		u.step(ctx, "defragmentation", turnLimit, u.defragment)
	}
	shown := append(slices.Clone(u.alarms), u.failed...)
	u.show(func(s *status.Etcd) { s.Alarms = shown })
}

// step does one thing within its time. What fails again and again is shown.
func (u *upkeep) step(ctx context.Context, what string, limit time.Duration, do func(context.Context) error) bool {
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	err := do(limited)
	if err == nil || ctx.Err() != nil {
		u.failing[what] = 0
		return err == nil
	}
	u.Logger.Warn("upkeep of etcd", "etcd", u.Member.Name, "what", what, "error", err)
	if u.failing[what]++; u.failing[what] >= shownAfter {
		u.failed = append(u.failed, fmt.Sprintf("upkeep, %s: %v", what, err))
	}
	return false
}

// dial speaks to the members that the lineage lists now.
func (u *upkeep) dial(ctx context.Context) error {
	record, err := u.Keeper.Lineage(ctx, u.Member.Name)
	if err != nil && u.members != nil {
		return nil //nolint:nilerr // those of a minute ago will do: the store is not needed to see that etcd is full
	}
	if err != nil {
		record = u.record
	}
	if !u.stands(record) {
		return delta.ErrFenced
	}
	all := endpoints(record)
	if u.members != nil && slices.Equal(all, u.all) {
		return nil
	}
	members, err := u.dialAll(ctx, all)
	if err != nil {
		return err
	}
	u.hangUp()
	u.all, u.members = all, members
	return nil
}

func (u *upkeep) hangUp() {
	if u.members != nil {
		_ = u.members.Close()
		u.members = nil
	}
}

// dialAll speaks to members of the term's cluster, and to no other.
func (t *term) dialAll(ctx context.Context, all []peers.Endpoint) (*peers.Client, error) {
	members, err := t.Dial(ctx, all)
	if err != nil {
		return nil, err
	}
	view, err := members.View(ctx) // from then on the client takes answers from this cluster alone
	if err == nil && view.ClusterID != t.cluster {
		err = fmt.Errorf("%w: its cluster id is %x, not %x", peers.ErrOtherServer, view.ClusterID, t.cluster)
	}
	if err != nil {
		return nil, errors.Join(err, members.Close())
	}
	return members, nil
}

func (u *upkeep) reap(ctx context.Context) error {
	did, err := u.Keeper.Reap(ctx, u.Member, u.members)
	if did != "" {
		u.Logger.Info("members of etcd", "etcd", u.Member.Name, "did", did, "error", err)
	}
	u.busy = did != "" && err == nil
	return err
}

// healths asks every member how it is.
func (u *upkeep) healths(ctx context.Context) {
	answers := make([]func(*status.EtcdMember), len(u.all))
	var group sync.WaitGroup
	for i, e := range u.all {
		group.Go(func() {
			health, err := u.members.Health(ctx, e)
			if err == nil && health.ClusterID != u.cluster {
				err = fmt.Errorf("%w: its cluster id is %x", peers.ErrOtherServer, health.ClusterID)
			}
			answers[i] = func(m *status.EtcdMember) { tellHealth(m, health, err) }
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return
	}
	u.show(func(s *status.Etcd) {
		for i, e := range u.all {
			at := slices.IndexFunc(s.Members, func(m status.EtcdMember) bool { return m.Name == e.Name })
			if at >= 0 {
				answers[i](&s.Members[at])
			}
		}
	})
}

func tellHealth(m *status.EtcdMember, health peers.Health, err error) {
	if err != nil {
		m.Health = err.Error()
		return
	}
	m.Health, m.Version, m.DBSize, m.InUse, m.Quota = "ok", health.Version, health.DBSize, health.DBInUse, health.Quota
	if len(health.Errors) > 0 {
		m.Health = strings.Join(health.Errors, "; ")
	}
}
