package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/store"
)

const (
	deltasAhead = 32 << 20  // bytes of deltas that are held before their turn
	deltaLimit  = 512 << 20 // bytes of one
	deltaGrowth = 8         // how much a delta grows in the database, at most, we suppose
)

// deltaSpace is how many bytes the deltas add to the database, about.
func (b *build) deltaSpace() (sum int64) {
	for _, d := range b.later() {
		sum += deltaGrowth * d.Stored
	}
	return sum
}

// later is the deltas that may add to the snapshot, in their order. Some may hold the same revisions: two masters took them, or
// one took over from the other.
func (b *build) later() (all []backup.DeltaEntry) {
	for _, d := range b.Backup.Deltas {
		if d.Last >= b.Backup.Revision {
			all = append(all, d)
		}
	}
	return all
}

// arrival is a delta as the store has it, or why not.
type arrival struct {
	data []byte
	err  error
}

// replay reads the deltas, several at once, and writes them into the database in their order. Where one is missing or bad, and
// no other has the same revisions, the chain ends: what the database has by then is a state that once was.
func (b *build) replay(ctx context.Context, blobs store.Blobs, db *database) error {
	all := b.later()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	room := semaphore.NewWeighted(deltasAhead)
	arrivals := make(chan chan arrival, b.Parallel)
	g.Go(func() error {
		defer close(arrivals)
		for _, d := range all {
			if room.Acquire(ctx, weight(d)) != nil {
				return nil // replayAll says why
			}
			one := make(chan arrival, 1)
			select {
			case arrivals <- one:
			case <-ctx.Done():
				return nil
			}
			g.Go(func() error {
				data, err := b.readDelta(ctx, blobs, d)
				one <- arrival{data, err}
				return nil
			})
		}
		return nil
	})
	err := b.replayAll(ctx, all, arrivals, db, room)
	cancel()
	err = errors.Join(err, g.Wait())
	if want := b.Backup.Reaches(); err == nil && b.result.Reached < want {
		b.warn("the deltas lead to revision %d, of %d: what was written after it is lost", b.result.Reached, want)
	}
	return err
}

func (b *build) replayAll(ctx context.Context, all []backup.DeltaEntry, arrivals chan chan arrival, db *database, room *semaphore.Weighted) error {
	for _, entry := range all {
		var a arrival
		select {
		case one := <-arrivals:
			a = <-one
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if entry.Base > b.result.Reached {
			b.warn("deltas: none follows revision %d; the next begins at %d", b.result.Reached, entry.Base)
			return nil
		}
		err := a.err
		if err == nil {
			err = b.replayOne(a.data, entry, db)
		}
		if errors.Is(err, delta.ErrDamaged) || errors.Is(err, delta.ErrGap) || errors.Is(err, store.ErrAbsent) {
			b.warn("deltas: %v", err) // another may have the same revisions
		} else if err != nil {
			return err
		}
		room.Release(weight(entry))
	}
	return nil
}

func weight(d backup.DeltaEntry) int64 { return min(max(d.Stored, 1), deltasAhead) }

// readDelta reads one delta. One that is damaged is read twice: it may have been the way.
func (b *build) readDelta(ctx context.Context, blobs store.Blobs, entry backup.DeltaEntry) (data []byte, err error) {
	var answer error
	for range 2 {
		err = b.insist(ctx, func(ctx context.Context, w *watch) error {
			body, err := blobs.Open(ctx, entry.Key, 0, 0)
			if answer = err; errors.Is(err, store.ErrAbsent) {
				return nil
			}
			if err != nil {
				return err
			}
			defer body.Close()
			data, err = io.ReadAll(io.LimitReader(b.counted(body, w), deltaLimit))
			return err
		})
		if err = errors.Join(err, answer); err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Key, err)
		}
		if _, damaged := delta.Read(bytes.NewReader(data)); !errors.Is(damaged, delta.ErrDamaged) {
			break
		}
	}
	return data, nil
}

func (b *build) replayOne(data []byte, entry backup.DeltaEntry, db *database) error {
	d, err := delta.Read(bytes.NewReader(data))
	if err != nil {
		if !errors.Is(err, delta.ErrDamaged) {
			err = fmt.Errorf("%w: %w", ErrNewer, err)
		}
		return fmt.Errorf("%s: %w", entry.Key, err)
	}
	m := b.result.Manifest
	if d.Cluster != m.Cluster || d.UID != m.UID || d.Generation != m.Generation || d.Base != entry.Base || d.Last != entry.Last {
		return fmt.Errorf("%s: %w: it is of etcd %s, lineage %s, generation %d, revisions %d to %d",
			entry.Key, delta.ErrDamaged, d.Cluster, d.UID, d.Generation, d.Base, d.Last)
	}
	if err := b.step("replay delta"); err != nil {
		return err
	}
	if err := delta.Replay(db.DB, d); err != nil {
		return fmt.Errorf("%s: %w", entry.Key, err)
	}
	return db.View(func(tx *bbolt.Tx) error {
		b.result.Reached, err = delta.Revision(tx)
		return err
	})
}
