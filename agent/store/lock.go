package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

// The times of a Lock. Who waits takes a lease over only after Expiry, who holds it learns after half of that.
const (
	Beat   = 10 * time.Second // between two signs of life
	Expiry = time.Minute      // without a sign of life

	lockPoll    = 5 * time.Second  // between two looks at somebody else's lease, give or take a third
	lockRetry   = time.Second      // after an error, give or take a third
	lockRequest = 10 * time.Second // for one request to the store
	lockGoodbye = 15 * time.Second // to give a lease back, whatever became of the caller's context
)

// Lock is held by at most one of a cluster's nodes: a lease, kept as a record of the store.
//
// Machines' clocks are never compared. The holder changes the record every Beat; who waits takes the lease over when it
// has seen the very same version for Expiry, by its own monotonic clock. A lost response is told from a lost race by the
// nonce that every Acquire makes anew.
//
// It is a courtesy between nodes that work, and no fence: nothing stops a holder that was paused for longer than Expiry
// from going on for the moment until it looks at Acquire's channel. What must never happen twice needs a conditional
// write of its own. Nor is it fair: whoever looks first after a release gets the lease, by the jitter of its polling.
type Lock struct {
	records     Records
	key, holder string
	log         *slog.Logger
}

// NewLock is the lock that the record at key stands for. Holder is for those who read the record: the instance.
func NewLock(records Records, key, holder string, logger *slog.Logger) *Lock {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Lock{records: records, key: key, holder: cmp.Or(holder, "unnamed"), log: logger}
}

// lease is the record. One without a holder is free.
type lease struct {
	Holder string    `json:"holder"`
	Nonce  string    `json:"nonce"` // of the Acquire that wrote it
	Since  time.Time `json:"since"` // for people only
	Beat   int       `json:"beat"`  // so that each sign of life is another version
}

// Acquire waits, under ctx, until the lease is this node's. Release gives it back, and waits until the store said so: it
// is called once, works even if its context has ended, and never touches a lease that is another's by now. Lost is closed
// when the lease may become another's: the holder did not reach the store for half of Expiry, or somebody took it.
//
// A store that cannot be read for Expiry ends the wait: then nobody knows who holds the lease.
func (l *Lock) Acquire(ctx context.Context) (release func(context.Context) error, lost <-chan struct{}, err error) {
	h := &hold{Lock: l, lost: make(chan struct{}), lease: lease{Holder: l.holder, Nonce: rand.Text()}}
	if err := h.acquire(ctx); err != nil {
		return nil, nil, fmt.Errorf("lock %s: %w", l.key, err)
	}
	l.log.Info("acquired", "lock", l.key)
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	var beats sync.WaitGroup
	beats.Go(func() { h.keep(beating) })
	return func(ctx context.Context) error {
		stop()
		beats.Wait()
		if err := h.release(ctx); err != nil {
			return fmt.Errorf("lock %s: release: %w (others get it in %s)", l.key, err, Expiry)
		}
		return nil
	}, h.lost, nil
}

// hold is one Acquire. Its fields belong to acquire, then to keep, then to release.
type hold struct {
	*Lock
	lease    lease
	version  Version   // of the record, as this node wrote or found it last
	alive    time.Time // when the last sign of life was begun that the store took
	watched  Version   // of somebody else's lease
	since    time.Time // when that version was seen first
	doubtful bool      // a lease may have been written although the store said otherwise
	lost     chan struct{}
}

var (
	errHeld  = errors.New("held by")
	errTaken = errors.New("taken by")
)

func (h *hold) acquire(ctx context.Context) error {
	answered := time.Now()
	for {
		err := h.attempt(ctx)
		pause := lockRetry
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errHeld):
			answered, pause = time.Now(), lockPoll
		case errors.Is(err, ErrConflict):
			answered = time.Now()
		case time.Since(answered) >= Expiry:
			h.abandon(ctx)
			return fmt.Errorf("the store could not be used for %s: %w", Expiry, err)
		}
		select {
		case <-time.After(jittered(pause)):
		case <-ctx.Done():
			h.abandon(ctx)
			if cause := context.Cause(ctx); !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", err, cause)
			}
			return err
		}
	}
}

// attempt takes a lease that is free, or whose holder gave no sign of life for Expiry.
func (h *hold) attempt(ctx context.Context) error {
	now, version, err := h.look(ctx)
	switch {
	case err != nil:
		return err
	case now.Holder == "", now.Nonce == h.lease.Nonce: // ours: the response to a Put was lost
	case version != h.watched:
		h.watched, h.since = version, time.Now()
		fallthrough
	case time.Since(h.since) < Expiry:
		return fmt.Errorf("%w %s since %s", errHeld, now.Holder, now.Since.Format(time.RFC3339))
	default:
		h.log.Warn("taking over: its holder gave no sign of life", "lock", h.key, "holder", now.Holder, "since", now.Since)
	}
	h.lease.Since = time.Now().UTC()
	return h.put(ctx, version)
}

// keep gives signs of life until ctx ends or the lease is lost.
func (h *hold) keep(ctx context.Context) {
	pause := Beat
	for {
		until := h.alive.Add(Expiry / 2)
		select {
		case <-time.After(min(pause, time.Until(until))):
		case <-ctx.Done():
			return
		}
		beating, cancel := context.WithDeadline(ctx, until)
		err := h.beat(beating)
		cancel()
		switch {
		case err == nil:
			pause = Beat
			continue
		case ctx.Err() != nil:
			return
		case errors.Is(err, errTaken) || !time.Now().Before(until):
			h.log.Warn("lost: another node may take it, or has", "lock", h.key, "error", err)
			close(h.lost)
			return
		}
		h.log.Info("no sign of life could be given; trying again", "lock", h.key, "error", err)
		pause = jittered(lockRetry)
	}
}

// beat writes a sign of life. If the store says otherwise, the lease may still be ours: at the version before, or at the
// one that was written while the response was lost.
func (h *hold) beat(ctx context.Context) error {
	err := h.put(ctx, h.version)
	if err == nil {
		return nil
	}
	now, version, lookErr := h.look(ctx)
	switch {
	case lookErr != nil:
		return fmt.Errorf("%w; %w", err, lookErr)
	case now.Nonce != h.lease.Nonce:
		return fmt.Errorf("%w %q", errTaken, now.Holder)
	}
	h.version = version
	return err
}

// release marks the lease as free, while it is ours. Records have no conditional deletion, and a plain one could remove
// the lease of whoever came next.
func (h *hold) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockGoodbye)
	defer cancel()
	for {
		now, version, err := h.look(ctx)
		switch {
		case err != nil:
		case now.Nonce != h.lease.Nonce:
			h.log.Info("nothing to release: it is another's", "lock", h.key, "holder", now.Holder)
			return nil
		case now.Holder == "":
			return nil
		default:
			h.lease.Holder = ""
			if err = h.put(ctx, version); err == nil {
				h.log.Info("released", "lock", h.key)
				return nil
			}
		}
		select {
		case <-time.After(jittered(lockRetry)):
		case <-ctx.Done():
			return err
		}
	}
}

// abandon gives back what may have been acquired without the store saying so.
func (h *hold) abandon(ctx context.Context) {
	if !h.doubtful {
		return
	}
	if err := h.release(ctx); err != nil {
		h.log.Info("may hold a lease that nobody uses", "lock", h.key, "for", Expiry, "error", err)
	}
}

// look reads the record. One that is no lease is somebody's whom this agent does not know: it expires as any other.
func (h *hold) look(ctx context.Context) (lease, Version, error) {
	ctx, cancel := context.WithTimeout(ctx, lockRequest)
	defer cancel()
	data, version, err := h.records.Get(ctx, h.key)
	if errors.Is(err, ErrAbsent) {
		return lease{}, "", nil
	}
	if err != nil {
		return lease{}, "", err
	}
	var now lease
	if err := json.Unmarshal(data, &now); err != nil || now.Nonce == "" {
		return lease{Holder: "somebody unknown", Nonce: "unknown"}, version, nil
	}
	return now, version, nil
}

// put writes our lease over version was. Every try is another content, so that no two have the same version.
func (h *hold) put(ctx context.Context, was Version) error {
	ctx, cancel := context.WithTimeout(ctx, lockRequest)
	defer cancel()
	h.lease.Beat++
	data, err := json.Marshal(h.lease)
	if err != nil {
		return err
	}
	begun := time.Now()
	version, err := h.records.Put(ctx, h.key, data, was)
	if err != nil {
		h.doubtful = h.doubtful || !errors.Is(err, ErrConflict)
		return err
	}
	h.version, h.alive = version, begun
	return nil
}

// jittered is d, give or take a third.
func jittered(d time.Duration) time.Duration { return d*2/3 + mathrand.N(d*2/3) }
