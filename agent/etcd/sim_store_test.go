package etcd

import (
	"context"
	"crypto/md5" // as S3 makes ETags
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/store"
)

// way is a node's way to the store. The store itself is linearizable, as S3 is; what is between is not.
type way struct{ *agent }

func etag(data []byte) store.Version {
	if data == nil {
		return ""
	}
	sum := md5.Sum(data)
	return store.Version(hex.EncodeToString(sum[:]))
}

// down tells whether the store does not answer this node now.
func (a *agent) down() bool { return time.Now().Before(a.w.outage) || time.Now().Before(a.n.cutOff) }

func (s way) Get(ctx context.Context, key string) (data []byte, version store.Version, err error) {
	err = s.op(ctx, "get "+key, func() error {
		if s.down() || s.chance(s.w.faults.store) {
			return pick(s.rng, errFault, errSlow, errors.New("simulated: 403 AccessDenied"))
		}
		now, found := s.w.objects[key]
		if !found {
			return fmt.Errorf("%s: %w", key, store.ErrAbsent)
		}
		data, version = now, etag(now)
		return nil
	})
	return data, version, err
}

// Put fails in all ways that S3 and the road to it have: 409 and 5xx with nothing done, 412 to what was done by the same
// request's first attempt, no answer to what was done, and no answer to what is done later.
func (s way) Put(ctx context.Context, key string, data []byte, was store.Version) (version store.Version, err error) {
	what, _, _ := strings.Cut("put "+key, "-") // without the nonce of a self-test
	err = s.op(ctx, what, func() error {
		w := s.w
		if s.down() {
			return errSlow
		}
		if !s.chance(w.faults.store) {
			version, err = w.put(s.n.name, key, data, was)
			return err
		}
		switch {
		case s.chance(w.faults.late):
			w.tell(s.n.name, "put %s is under way for long", key)
			name := s.n.name
			w.later(time.Duration(s.rng.Int64N(int64(3*time.Minute))), func() {
				if _, err := w.put(name+"~", key, data, was); err == nil {
					w.stats["late writes"]++
				}
			})
			return pick(s.rng, errFault, errSlow)
		case s.chance(0.4): // done, and the answer is lost
			if _, err := w.put(s.n.name, key, data, was); err != nil {
				return err
			}
			w.stats["lost answers"]++
			return pick(s.rng, errFault, errSlow, fmt.Errorf("412 to the second attempt: %w", store.ErrConflict))
		}
		return pick(s.rng, errFault, errSlow, fmt.Errorf("409: %w", store.ErrConflict))
	})
	if err != nil {
		return "", err
	}
	return version, nil
}

// put is the store's own compare-and-swap.
func (w *world) put(who, key string, data []byte, was store.Version) (store.Version, error) {
	if etag(w.objects[key]) != was {
		return "", fmt.Errorf("%s: %w", key, store.ErrConflict)
	}
	w.objects[key] = data
	if key == Key(simCluster) {
		w.swapped(who, data)
	}
	return etag(data), nil
}

func (s way) List(context.Context, string, int) ([]string, error) {
	return nil, errors.New("a Keeper lists nothing")
}

func (s way) Delete(ctx context.Context, key string) error {
	return s.op(ctx, "delete the self-test", func() error {
		if s.down() || s.chance(s.w.faults.store) {
			return errFault
		}
		if !strings.Contains(key, "selftest") {
			s.w.fail("%s deletes %s", s.n.name, key)
		}
		delete(s.w.objects, key)
		return nil
	})
}

// trace implements Asked.Trace.
func (a *agent) trace(ctx context.Context, prefix string) (found bool, err error) {
	err = a.op(ctx, "trace "+prefix, func() error {
		if a.down() || a.chance(a.w.faults.store) {
			return errFault
		}
		switch prefix {
		case Key(simCluster):
			found = a.w.known
		case backup.Prefix(simCluster):
			found = len(a.w.backups) > 0
		default:
			a.w.fail("a trace of %s is asked for", prefix)
		}
		return nil
	})
	return found, err
}

// saved is a backup in the store.
type saved struct {
	backup.Entry
	holds contents
	bad   bool // it turns out to be corrupt
}

// list implements Asked.Backups.
func (a *agent) list(ctx context.Context, _ string) (entries []backup.Entry, err error) {
	err = a.op(ctx, "list backups", func() error {
		if a.down() || a.chance(a.w.faults.store) {
			return errFault
		}
		for _, b := range a.w.backups {
			entries = append(entries, b.Entry)
		}
		return nil
	})
	return backup.Candidates(entries, 1<<30), err
}

func (w *world) backup(id string) *saved {
	for _, b := range w.backups {
		if b.ID == id {
			return b
		}
	}
	return nil
}

// save writes a backup of what a member has applied.
func (w *world) save(generation int, holds contents, bad bool) {
	id := backup.ID(generation, time.Now(), holds.revision)
	if w.backup(id) != nil {
		return
	}
	w.backups = append(w.backups, &saved{holds: holds.clone(), bad: bad, Entry: backup.Entry{
		Cluster: simCluster, ID: id, Generation: generation, Taken: time.Now(), Revision: holds.revision, Complete: true,
	}})
	w.stats["backups"]++
}
