package assets

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	firstPause = 50 * time.Millisecond
	lastPause  = 10 * time.Second
)

// backoff is the pause after the n-th failure in a row (from 0): doubling, bounded, jittered.
func backoff(n int) time.Duration {
	return jitter(min(firstPause<<min(n, 16), lastPause))
}

// jitter spreads d over [d/2, d], so that a fleet that lost its store together does not come back together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// downAfter is how many failures in a row, of all workers together, make a source count as down.
const downAfter = 3

// health is what the workers of a store learn from each other about one source: when it is down the others are asked
// first, and one worker at a time looks whether it is back.
type health struct {
	mu     sync.Mutex
	failed int // in a row
	down   time.Time
}

func (h *health) succeeded() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed, h.down = 0, time.Time{}
}

// failure counts a temporary failure. A stall weighs as much as it takes to be down: it costs a whole read time-out, so
// no other worker should pay it again.
func (h *health) failure(stalled bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed++
	if stalled {
		h.failed = max(h.failed, downAfter)
	}
	if h.failed >= downAfter {
		h.down = time.Now().Add(backoff(h.failed))
	}
}

// usable reports whether the source should be asked now. The first caller after a pause becomes the one that looks; the
// others go on passing it by.
func (h *health) usable() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed < downAfter {
		return true
	}
	if time.Now().Before(h.down) {
		return false
	}
	h.down = time.Now().Add(lastPause)
	return true
}
