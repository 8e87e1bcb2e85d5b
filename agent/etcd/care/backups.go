package care

import (
	"context"
	"fmt"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/status"
)

// backups takes a full backup whenever one is due, and has what is written after it stored until the next.
func (t *term) backups(ctx context.Context) {
	b := &backups{term: t, deltas: &deltas{term: t, wake: make(chan struct{}, 1)}}
	defer b.deltas.end()
	for {
		wait := b.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-b.deltas.wake:
		case <-time.After(jittered(wait)):
		}
	}
}

// backups is what the loop knows between two rounds.
type backups struct {
	*term
	deltas   *deltas
	sight    backup.Sight
	manifest backup.Manifest // of the backup that counts
	read     string          // its ID; empty: not read yet
	settled  bool            // one backup is followed, not two
	failed   time.Duration   // the pause after the last failure
}

const (
	failLongest  = 5 * time.Minute // between two attempts
	anewFirst    = time.Minute     // between two full backups before their time, at first
	pruningLimit = 5 * time.Minute
)

// round does what is due, and says when to look again.
func (b *backups) round(ctx context.Context) time.Duration {
	err := b.due(ctx)
	if err != nil && ctx.Err() == nil {
		b.Logger.Warn("backup", "etcd", b.Member.Name, "error", err)
		b.show(func(e *status.Etcd) {
			if e.Backup == nil {
				e.Backup = new(status.EtcdBackup)
			}
			e.Backup.Failed, e.Backup.FailedAt = err.Error(), time.Now()
		})
		b.failed = min(max(b.pace.retry, 2*b.failed), failLongest)
		return b.failed
	}
	b.failed = 0
	b.show(func(e *status.Etcd) {
		if e.Backup != nil {
			e.Backup.Failed, e.Backup.FailedAt = "", time.Time{}
		}
	})
	wait := min(b.pace.due, b.Config.Interval/4)
	if !b.settled {
		wait = min(wait, 2*b.Config.Deltas)
	}
	if b.deltas.broken() {
		wait = min(wait, b.kept.anew.left(time.Now()))
	}
	return wait
}

func (b *backups) due(ctx context.Context) (err error) {
	if b.deltas.client == nil {
		if b.deltas.client, err = b.client.Local(b.self); err != nil {
			return err
		}
	}
	entries, err := backup.List(ctx, b.Store, b.Member.Name)
	if err != nil {
		return err
	}
	// A newest backup whose manifest cannot be read must not be the reason that there is no newer one.
	unread := b.follow(ctx, entries)
	due, sight := backup.Due(entries, b.record.Generation, time.Now(), b.Config.Interval, b.sight)
	b.sight = sight
	anew := b.deltas.broken() && b.kept.anew.left(time.Now()) == 0
	if !due && !anew {
		return unread
	}
	if anew {
		b.kept.anew.done(time.Now(), min(anewFirst, b.Config.Interval), b.Config.Interval)
	}
	if err := b.take(ctx); err != nil {
		return err
	}
	if entries, err = backup.List(ctx, b.Store, b.Member.Name); err != nil {
		return err
	}
	if err := b.follow(ctx, entries); err != nil {
		return err
	}
	b.prune(ctx, entries)
	return nil
}

// follow has what is written after the latest backup stored, whoever took it, and shows that backup.
func (b *backups) follow(ctx context.Context, entries []backup.Entry) error {
	latest := backup.Latest(entries, b.record.Generation)
	if latest == nil {
		return nil
	}
	if b.read != latest.ID {
		manifest, err := backup.ReadManifest(ctx, b.Store, *latest)
		if err != nil {
			return err
		}
		if manifest.UID != b.record.UID {
			return fmt.Errorf("backup %s of etcd %s is of another cluster, %s: the store has had two clusters of this name",
				latest.ID, b.Member.Name, manifest.UID)
		}
		b.manifest, b.read = manifest, latest.ID
	}
	b.tell(*latest, func(int) int { return complete(entries) })
	b.deltas.begin(ctx, *latest, b.manifest)
	b.settled = b.deltas.settle(latest.ID)
	return nil
}

// take takes a backup. What is written meanwhile is stored beside it already; should it fail, that has been in vain.
func (b *backups) take(ctx context.Context) error {
	spool, err := b.Path(b.Config.SpoolDir)
	if err != nil {
		return err
	}
	begun := ""
	taker, err := backup.NewTaker(backup.Options{
		Etcd: b.deltas.client, Blobs: b.Store, Records: b.Store, Cluster: b.Member.Name, UID: b.record.UID,
		Generation: b.record.Generation, Member: b.self.Name, SpoolDir: spool, Fence: b.surely, Log: b.Logger,
		Began: func(entry backup.Entry, manifest backup.Manifest) {
			begun = entry.ID
			b.deltas.begin(ctx, entry, manifest)
		},
	})
	if err != nil {
		return err
	}
	defer status.Waiting(ctx, "etcd "+b.Member.Name+": backup", "a full backup to be in the store")()
	entry, manifest, err := taker.Take(ctx)
	if err != nil {
		b.deltas.abandon(begun)
		return err
	}
	b.manifest, b.read = manifest, entry.ID // it counts, whether or not the store can be listed now
	b.settled = b.deltas.settle(entry.ID)
	b.tell(entry, func(before int) int { return before + 1 })
	return nil
}

// prune removes what need not stay. A failure costs room in the store, nothing else; without the word of the last drill
// nothing is removed, for it says which backup is known to be good.
func (b *backups) prune(ctx context.Context, entries []backup.Entry) {
	limited, cancel := context.WithTimeoutCause(ctx, pruningLimit, fmt.Errorf("not done within %s", pruningLimit))
	defer cancel()
	var done backup.Pruned
	drill, _, err := b.lastDrill(limited)
	if err == nil {
		k := b.Config.Keep
		plan := backup.Plan(entries, time.Now(), backup.Keep{All: k.All, Hourly: k.Hourly, Daily: k.Daily},
			backup.Standing{Generation: b.record.Generation, LastGood: drill.Good})
		done, err = backup.Prune(limited, b.Store, plan)
	}
	if err != nil && ctx.Err() == nil {
		b.Logger.Warn("old backups stay", "etcd", b.Member.Name, "error", err)
	}
	if done.Objects > 0 || len(done.Locked) > 0 {
		b.Logger.Info("old backups removed", "etcd", b.Member.Name, "backups", len(done.Backups), "objects", done.Objects, "locked", len(done.Locked))
	}
}

// tell shows the latest backup. What failed is shown until a round has done all that was due.
func (b *backups) tell(latest backup.Entry, count func(before int) int) {
	m := b.manifest
	b.show(func(e *status.Etcd) {
		was := status.EtcdBackup{}
		if e.Backup != nil {
			was = *e.Backup
		}
		e.Backup = &status.EtcdBackup{
			Interval: b.Config.Interval.Seconds(), ID: latest.ID, Taken: m.Taken, Revision: m.Revision, Size: m.Size, Stored: m.Stored,
			Count: count(was.Count), Failed: was.Failed, FailedAt: was.FailedAt,
		}
	})
}

func complete(entries []backup.Entry) (count int) {
	for _, e := range entries {
		if e.Complete {
			count++
		}
	}
	return count
}
