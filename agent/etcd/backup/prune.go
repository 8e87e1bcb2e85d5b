package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/store"
)

// Pruned is what Prune did.
type Pruned struct {
	Backups []string // that do not count any more, by ID
	Objects int      // removed
	Locked  []string // keys that the store keeps for now: Object Lock, or a policy
}

// Prune removes what Plan says. A backup stops counting before any of its data goes: the manifest is removed first, and while
// that cannot be, nothing else is. What is locked stays for another run and is no error.
func Prune(ctx context.Context, blobs store.Blobs, plan []Removal) (Pruned, error) {
	p := pruning{blobs: blobs}
	var failed error
	for _, removal := range plan {
		if err := p.remove(ctx, removal); err != nil {
			failed = errors.Join(failed, fmt.Errorf("removing backup %s of etcd %s: %w", removal.Entry.ID, removal.Entry.Cluster, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return p.done, failed
}

type pruning struct {
	blobs store.Blobs
	mu    sync.Mutex
	done  Pruned
}

// parallel is how many objects are removed at once: deltas are many and small.
const parallel = 8

func (p *pruning) remove(ctx context.Context, removal Removal) error {
	entry := removal.Entry
	if !removal.DeltasOnly {
		if gone, err := p.object(ctx, entry.ManifestKey()); err != nil || !gone {
			return err
		}
		if entry.Complete {
			p.done.Backups = append(p.done.Backups, entry.ID)
		}
		if _, err := p.object(ctx, entry.SnapshotKey()); err != nil {
			return err
		}
	}
	var group errgroup.Group // no context of its own: one failure does not stop the others
	group.SetLimit(parallel)
	for _, delta := range entry.Deltas {
		group.Go(func() error {
			_, err := p.object(ctx, delta.Key)
			return err
		})
	}
	return group.Wait()
}

// object removes one. False without an error: it is locked.
func (p *pruning) object(ctx context.Context, key string) (bool, error) {
	err := p.blobs.Remove(ctx, key)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case errors.Is(err, store.ErrLocked):
		p.done.Locked = append(p.done.Locked, key)
		return false, nil
	case err == nil:
		p.done.Objects++
	case !errors.Is(err, store.ErrAbsent):
		return false, err
	}
	return true, nil
}
