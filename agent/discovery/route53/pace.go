package route53

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Route 53 allows an account five requests per second, whoever sends them. One keeper takes far less.
const (
	paceBurst = 2
	paceEvery = 3 * time.Second
)

const (
	requestTime   = 10 * time.Second // for an answer
	settleTime    = 2 * time.Second  // a view must have been the same for this long
	settleMost    = 15 * time.Second // but one that never rests is acted on after this
	rankStep      = 15 * time.Second // how much longer each rank leaves a wrong record to the ones before it
	longestHold   = 24 * time.Hour   // of a master whose writes others undo
	driftEvery    = 5 * time.Minute  // between reads when nothing changes
	verifyAfter   = 5 * time.Second  // from a write to the read that confirms it
	refusedFor    = time.Hour        // how long a cut-off master does not add again what others took out
	firstBackoff  = 5 * time.Second  // after a failure; it doubles
	afterConflict = time.Second      // after a batch that another one was faster than; it doubles
	mostBackoff   = 5 * time.Minute
)

// pace is a bucket of tokens, one for each request.
type pace struct {
	mu     sync.Mutex
	tokens float64
	filled time.Time
}

// take waits for a token, or until ctx ends.
func (p *pace) take(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	if p.filled.IsZero() {
		p.tokens = paceBurst
	} else {
		p.tokens = min(paceBurst, p.tokens+now.Sub(p.filled).Seconds()/paceEvery.Seconds())
	}
	p.filled = now
	p.tokens--
	wait := time.Duration(-p.tokens * float64(paceEvery))
	p.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		p.tokens++ // it was not used
		p.mu.Unlock()
		return context.Cause(ctx)
	}
}

// backoff is the pause after the nth failure in a row, from half of it to all of it.
func backoff(first time.Duration, n int) time.Duration {
	d := min(first<<min(n-1, 10), mostBackoff)
	return d/2 + rand.N(d/2)
}

// spread lengthens a pause by up to a quarter, so that masters that began together do not go on together.
func spread(d time.Duration) time.Duration { return d + rand.N(d/4) }

// late is by how much a master of this rank is later than it need be, so that those who wait do not go on together. The
// first in rank is not late.
func late(rank int) time.Duration {
	if rank == 0 {
		return 0
	}
	return rand.N(rankStep / 3)
}

// hold is how long a record must have been wrong before a master of this rank writes it. Undone says how often others
// have replaced what it wrote while its view stayed the same: two that disagree do not go on for ever. The first in rank
// prevails, since it waits no longer than between two reads.
func hold(rank, undone int) time.Duration {
	d, most := rankStep*time.Duration(rank), longestHold
	if rank == 0 {
		most = driftEvery
	}
	if undone > 0 {
		d = rankStep * time.Duration(max(rank, 1)) << min(undone-1, 16)
	}
	return min(d, most)
}
