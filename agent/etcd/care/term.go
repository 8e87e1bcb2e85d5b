package care

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/status"
)

// term is a time during which this node's member leads, in one generation. Other members may come and go.
type term struct {
	*Carer
	record  *etcd.Lineage // as the term began
	mine    etcd.Member
	self    peers.Endpoint
	client  *peers.Client // to this node's member alone
	cluster uint64        // etcd's own id
	lapse   context.CancelFunc

	gate   chan struct{} // whoever put something into it looks at the lineage
	fenced error         // what the last look came to
	looked time.Time
}

const (
	termLimit   = 6 * time.Hour // then certificates are read again
	silentLimit = 5             // looks at a member that does not answer
	fenceFor    = 2 * time.Second
	fenceLimit  = 10 * time.Second
	surelyFor   = 5 * time.Minute
)

// run ends, with everything that it began, when the member leads no longer or the lineage went on. A disturbance of the
// cluster that is under way goes on until it is over, or life ends.
func (t *term) run(life context.Context) error {
	t.Logger.Info("this node's member leads: looking after the cluster", "etcd", t.Member.Name, "generation", t.record.Generation)
	group, ctx := errgroup.WithContext(life)
	ctx, t.lapse = context.WithCancel(ctx)
	defer t.lapse()
	t.begin()
	group.Go(func() error { return t.until(ctx) })
	group.Go(func() error { t.upkeep(ctx, life); return nil })
	group.Go(func() error { t.comparisons(ctx); return nil })
	if !t.Config.Disabled {
		group.Go(func() error { t.backups(ctx); return nil })
		group.Go(func() error { t.drills(ctx); return nil })
	}
	if err := group.Wait(); !errors.Is(err, errOver) {
		return err
	}
	return nil
}

// begin shows that there is somebody who looks after the cluster, and what is to be expected.
func (t *term) begin() {
	t.show(func(e *status.Etcd) {
		e.Leads, e.Equal, e.Compared = true, t.kept.equal, t.kept.compared
		if t.Config.Disabled {
			return
		}
		e.Backup = &status.EtcdBackup{Interval: t.Config.Interval.Seconds()}
		if !t.Config.NoDeltas {
			e.Delta = &status.EtcdDelta{Interval: t.Config.Deltas.Seconds()}
		}
	})
}

// errOver ends a term.
var errOver = errors.New("the term is over")

// until returns when the term is over. A member that does not answer for a while has other worries.
func (t *term) until(ctx context.Context) error {
	end := time.Now().Add(termLimit)
	for silent := 0; time.Now().Before(end) && pause(ctx, t.pace.look); {
		health, err := t.client.Health(ctx, t.self)
		switch {
		case err == nil && (!health.IsLeader || health.ClusterID != t.cluster):
			return errOver
		case err == nil:
			silent = 0
		default:
			if silent++; silent >= silentLimit {
				return errOver
			}
		}
		if errors.Is(t.fence(ctx), delta.ErrFenced) {
			return errOver
		}
	}
	return errOver
}

// stands tells whether the lineage is that of the term, with this node's member as it was.
func (t *term) stands(record *etcd.Lineage) bool {
	if record == nil || record.UID != t.record.UID || record.Generation != t.record.Generation || record.State != etcd.Running {
		return false
	}
	mine := t.Carer.mine(record)
	return mine != nil && mine.Name == t.mine.Name && endpoint(*mine) == t.self
}

// fence fails with delta.ErrFenced, and ends the term, once the lineage went on without this member: what is written then
// would be another generation's. A look holds for two seconds. Any other error says that it is not known.
func (t *term) fence(ctx context.Context) error {
	select {
	case t.gate <- struct{}{}:
		defer func() { <-t.gate }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if t.fenced != nil || !t.looked.IsZero() && time.Since(t.looked) < fenceFor {
		return t.fenced
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, fenceLimit)
	defer cancel()
	record, err := t.Keeper.Lineage(limited, t.Member.Name)
	if err != nil {
		return fmt.Errorf("whether the lineage still stands is not known: %w", err)
	}
	t.looked = began
	if !t.stands(record) {
		t.fenced = delta.ErrFenced
		t.lapse()
	}
	return t.fenced
}

// surely is fence for who would throw much away: what is not known is asked for again, for a while.
func (t *term) surely(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, surelyFor)
	defer cancel()
	for wait := t.pace.retry; ; wait = min(2*wait, failLongest) {
		err := t.fence(ctx)
		if err == nil || errors.Is(err, delta.ErrFenced) || !pause(ctx, wait) {
			return err
		}
	}
}
