package care

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/status"
)

// backups takes a full backup whenever one is due, and stores what is written after it until the next. While a backup is
// taken the deltas of the one before go on.
func (t *term) backups(ctx context.Context) {
	b := &backups{term: t}
	defer b.endDeltas()
	for {
		wait := b.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-b.gap:
			b.now, b.gap = true, nil
		case <-time.After(wait):
		}
	}
}

// backups is what the loop knows between two rounds.
type backups struct {
	*term
	sight  backup.Sight
	now    bool          // a full backup has to be taken, whatever its time
	base   string        // the backup that deltas follow
	gap    chan struct{} // closed when the deltas cannot go on
	stop   func()        // ends the deltas
	taking string        // the backup that is being taken
	failed time.Duration // the pause after the last failure
	client *clientv3.Client
}

// The pauses between two looks at what is due, and after failures.
const (
	dueEvery    = 15 * time.Second
	failFirst   = 5 * time.Second
	failLongest = 5 * time.Minute
)

// round does what is due, and says when to look again.
func (b *backups) round(ctx context.Context) time.Duration {
	err := b.due(ctx)
	if err == nil || ctx.Err() != nil {
		b.failed = 0
		return min(dueEvery, b.Config.Interval/4)
	}
	b.Logger.Warn("backup", "etcd", b.Member.Name, "error", err)
	b.show(func(e *status.Etcd) {
		if e.Backup == nil {
			e.Backup = new(status.EtcdBackup)
		}
		e.Backup.Failed, e.Backup.FailedAt = err.Error(), time.Now()
	})
	b.failed = min(max(failFirst, 2*b.failed), failLongest)
	return b.failed
}

func (b *backups) due(ctx context.Context) (err error) {
	if b.client == nil {
		if b.client, err = b.term.client.Local(b.self); err != nil {
			return err
		}
	}
	entries, err := backup.List(ctx, b.Store, b.Member.Name)
	if err != nil {
		return err
	}
	due := false
	due, b.sight = backup.Due(entries, b.record.Generation, time.Now(), b.Config.Interval, b.sight)
	if due || b.now {
		entry, manifest, err := b.take(ctx)
		if err != nil {
			return err
		}
		b.now = false
		b.follow(ctx, entry, manifest)
		if entries, err = backup.List(ctx, b.Store, b.Member.Name); err != nil {
			return err
		}
		b.prune(ctx, entries)
	}
	newest := b.newest(entries)
	if newest == nil {
		return nil
	}
	manifest, err := backup.ReadManifest(ctx, b.Store, *newest)
	if err != nil {
		return err
	}
	b.tell(entries, *newest, manifest)
	if b.base != newest.ID {
		b.follow(ctx, *newest, manifest)
	}
	return nil
}

// newest is the newest backup of this generation that counts.
func (b *backups) newest(entries []backup.Entry) *backup.Entry {
	newest := backup.Newest(entries, b.record.Generation)
	if newest == nil || newest.Generation != b.record.Generation {
		return nil
	}
	return newest
}

func (b *backups) take(ctx context.Context) (backup.Entry, backup.Manifest, error) {
	spool, err := b.Path(b.Config.SpoolDir)
	if err != nil {
		return backup.Entry{}, backup.Manifest{}, err
	}
	taker, err := backup.NewTaker(backup.Options{
		Etcd: b.client, Blobs: b.Store, Records: b.Store, Cluster: b.Member.Name, UID: b.record.UID,
		Generation: b.record.Generation, Member: b.self.Name, SpoolDir: spool, Fence: b.fence, Log: b.Logger,
	})
	if err != nil {
		return backup.Entry{}, backup.Manifest{}, err
	}
	defer status.Waiting(ctx, "etcd "+b.Member.Name+": backup", "a full backup to be in the store")()
	return taker.Take(ctx)
}

// follow stores what is written after a backup, instead of after the one before.
func (b *backups) follow(ctx context.Context, base backup.Entry, manifest backup.Manifest) {
	b.endDeltas()
	b.base = base.ID
	if b.Config.NoDeltas {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	ended, gap := make(chan struct{}), make(chan struct{})
	b.gap = gap
	b.stop = func() {
		cancel()
		<-ended
	}
	stream := &delta.Stream{
		Client: b.client, Blobs: b.Store, Fence: b.fence, Log: b.Logger, Options: delta.Options{Interval: b.Config.Deltas},
		Observe: func(p delta.Progress) {
			b.show(func(e *status.Etcd) {
				e.Delta = &status.EtcdDelta{Reaches: p.Last, Proved: p.Proved, Held: p.Bytes, Failed: message(p.Err)}
			})
		},
	}
	go func() {
		defer close(ended)
		err := stream.Run(ctx, base, manifest)
		if err == nil || ctx.Err() != nil {
			return
		}
		b.Logger.Warn("deltas", "etcd", b.Member.Name, "error", err)
		b.show(func(e *status.Etcd) {
			if e.Delta == nil {
				e.Delta = new(status.EtcdDelta)
			}
			e.Delta.Failed = err.Error()
		})
		if errors.Is(err, delta.ErrGap) || errors.Is(err, delta.ErrBehind) {
			close(gap)
		}
	}()
}

func (b *backups) endDeltas() {
	if b.stop != nil {
		b.stop()
		b.stop = nil
	}
}

// prune removes what need not stay. A failure costs room in the store, nothing else.
func (b *backups) prune(ctx context.Context, entries []backup.Entry) {
	k := b.Config.Keep
	plan := backup.Plan(entries, time.Now(), backup.Keep{All: k.All, Hourly: k.Hourly, Daily: k.Daily},
		backup.Standing{Generation: b.record.Generation, LastGood: b.lastGood()})
	if len(plan) == 0 {
		return
	}
	done, err := backup.Prune(ctx, b.Store, plan)
	if err != nil && ctx.Err() == nil {
		b.Logger.Warn("old backups", "etcd", b.Member.Name, "error", err)
	}
	b.Logger.Info("old backups removed", "etcd", b.Member.Name, "backups", len(done.Backups), "objects", done.Objects, "locked", len(done.Locked))
}

func (b *backups) tell(entries []backup.Entry, newest backup.Entry, m backup.Manifest) {
	count := 0
	for _, e := range entries {
		if e.Complete {
			count++
		}
	}
	b.show(func(e *status.Etcd) {
		was := e.Backup
		e.Backup = &status.EtcdBackup{ID: newest.ID, Taken: m.Taken, Revision: m.Revision, Size: m.Size, Stored: m.Stored, Count: count}
		if was != nil && was.FailedAt.After(m.Taken) {
			e.Backup.Failed, e.Backup.FailedAt = was.Failed, was.FailedAt
		}
	})
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
