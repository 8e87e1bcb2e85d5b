package apiproxy

import (
	"context"
	"math/rand/v2"
	"time"
)

// drainTick is how often a draining looks at the connections. One that carried nothing for so long is quiet.
const drainTick = 100 * time.Millisecond

// leaving is a connection that is being drained.
type leaving struct {
	due, end time.Time
	moved    int64 // as of the last look
}

// drain starts to close the connections of a backend one by one. Each is due at a moment of its own, so that the clients do
// not all reconnect at once, and is then closed as soon as it is quiet, or when its time is over.
func (p *Proxy) drain(b *backend) {
	ctx, cancel := context.WithCancel(p.ctx)
	b.undrain = cancel
	p.work.Go(func() {
		defer cancel()
		known := map[*pair]*leaving{}
		for pause(ctx, min(drainTick, p.o.DrainTime/10)) {
			p.drainSome(ctx, b, known)
		}
	})
}

// drainSome closes the connections whose moment has come.
func (p *Proxy) drainSome(ctx context.Context, b *backend, known map[*pair]*leaving) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return // it was called off while this waited for the lock
	}
	now := time.Now()
	for c := range b.pairs {
		l := known[c]
		if l == nil {
			known[c] = &leaving{due: now.Add(rand.N(p.o.DrainTime * 3 / 4)), end: now.Add(p.o.DrainTime), moved: c.moved.Load()}
			continue
		}
		moved := c.moved.Load()
		if now.After(l.end) || now.After(l.due) && moved == l.moved {
			if c.close() {
				p.metrics.drained.Inc()
			}
		}
		l.moved = moved
	}
	for c := range known {
		if _, open := b.pairs[c]; !open {
			delete(known, c)
		}
	}
}
