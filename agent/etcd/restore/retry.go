package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	firstPause = 50 * time.Millisecond
	lastPause  = 10 * time.Second
)

// pause waits after the n-th failure in a row (from 0), or returns why ctx ended.
func pause(ctx context.Context, n int) error {
	d := min(firstPause<<min(n, 16), lastPause)
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// insist calls try until it succeeds, says that the backup is bad, or ctx ends. A try whose watch sees nothing for a while is
// given up.
func (b *build) insist(ctx context.Context, try func(ctx context.Context, w *watch) error) error {
	for n := 0; ; n++ {
		err := b.attempt(ctx, try)
		if err == nil || definite(err) {
			return err
		}
		if err := b.again(ctx, n, err); err != nil {
			return err
		}
	}
}

// again waits before what failed n+1 times in a row is tried once more.
func (b *build) again(ctx context.Context, n int, err error) error {
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	b.Log.Warn("reading a backup is tried again", "backup", b.Backup.ID, "attempt", n+1, "err", err)
	if cause := pause(ctx, n); cause != nil {
		return errors.Join(cause, err)
	}
	return nil
}

// attempt is one try.
func (b *build) attempt(ctx context.Context, try func(ctx context.Context, w *watch) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{patience: b.patience}
	w.timer = time.AfterFunc(w.patience, func() { cancel(fmt.Errorf("no bytes for %s", w.patience)) })
	defer w.rest()
	err := try(ctx, w)
	if err != nil && ctx.Err() != nil && !definite(err) {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// watch ends a request that delivers nothing.
type watch struct {
	timer    *time.Timer
	patience time.Duration
}

func (w *watch) alive() { w.timer.Reset(w.patience) }

// rest stops the watch until it is alive again: we are at work ourselves.
func (w *watch) rest() { w.timer.Stop() }

// definite reports whether trying again would give the same answer: the backup is bad, or our own disk is.
func definite(err error) bool {
	_, disk := errors.AsType[*diskError](err)
	return disk || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer)
}

// counted reads from the store, under a watch.
func (b *build) counted(r io.Reader, w *watch) io.Reader { return &counted{r, w, &b.result.Fetched} }

type counted struct {
	io.Reader
	watch *watch
	bytes *int64 // added to atomically
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.watch.alive()
		atomic.AddInt64(c.bytes, int64(n))
	}
	return n, err
}
