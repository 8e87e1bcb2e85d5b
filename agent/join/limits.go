package join

import (
	"context"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what the server spends on those who ask. A zero field takes its default.
type Limits struct {
	// Verifications is how many proofs are verified at once (64), and Queue how many requests wait for that (192: with
	// those, as many as there are connections). Fewer wait when they would wait for long.
	Verifications, Queue int
	// Burst and Rate are how many requests one address makes at once (10), and per second from then on (1). A node makes
	// two: for a nonce and for its certificates.
	Burst int
	Rate  float64
	// Addresses is how many addresses' requests are counted (8192).
	Addresses int
	// Connections is how many are served at once (256), and PerAddress how many of one address are open (4). A node needs
	// one. Each takes some 80 KiB of memory in a mass join.
	Connections, PerAddress int
	// Deadline bounds a request, its wait included (25 s: nodes wait for 30).
	Deadline time.Duration
}

func (l Limits) withDefaults() Limits {
	for field, value := range map[*int]int{
		&l.Verifications: 64, &l.Queue: 192, &l.Burst: 10, &l.Addresses: 8192, &l.Connections: 256, &l.PerAddress: 4,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	if l.Rate <= 0 {
		l.Rate = 1
	}
	if l.Deadline <= 0 {
		l.Deadline = 25 * time.Second
	}
	return l
}

// The bounds of Retry-After before it is spread by up to half as much again.
const (
	minRetry = time.Second
	maxRetry = 10 * time.Second
	// maxWait is how long a request may be expected to wait: the rest of the deadline is for its verification.
	maxWait = 15 * time.Second
)

// gate lets requests in.
type gate struct {
	limits Limits
	slots  chan struct{} // one in it for each verification

	mu       sync.Mutex
	inside   int // requests being read, waiting or verified
	pace     pace
	visitors map[netip.Addr]*bucket
}

// bucket is how much an address may still ask.
type bucket struct {
	tokens float64
	at     time.Time
}

func newGate(l Limits) *gate {
	return &gate{
		limits: l, slots: make(chan struct{}, l.Verifications), pace: pace{rate: firstPace}, visitors: map[netip.Addr]*bucket{},
	}
}

// visit counts a request of an address, and refuses it when there were too many.
func (g *gate) visit(from netip.Addr, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.visitors[from]
	if b == nil {
		if len(g.visitors) >= g.limits.Addresses {
			g.forget(now)
		}
		b = &bucket{float64(g.limits.Burst), now}
		g.visitors[from] = b
	}
	b.tokens, b.at = g.filled(b, now), now
	if b.tokens < 1 {
		return refuse(Busy, "more than %g requests a second from this address", g.limits.Rate)
	}
	b.tokens--
	return nil
}

func (g *gate) filled(b *bucket, now time.Time) float64 {
	return min(float64(g.limits.Burst), b.tokens+now.Sub(b.at).Seconds()*g.limits.Rate)
}

// forget drops the fullest of a few buckets. Whoever has more addresses than are counted gets past this limit, and then
// meets those that hold for all together.
func (g *gate) forget(now time.Time) {
	var fullest netip.Addr
	most, looked := -1.0, 0
	for address, b := range g.visitors { // begins anywhere
		if tokens := g.filled(b, now); tokens > most {
			fullest, most = address, tokens
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(g.visitors, fullest)
}

// enter lets a request in, before its body is read: no more than can wait. The caller calls leave.
func (g *gate) enter() (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	waiting := g.inside - g.limits.Verifications
	if waiting >= g.limits.Queue || waiting > 0 && g.pace.wait(g.inside) > maxWait {
		return nil, refuse(Busy, "%d requests are waiting, and %.0f a second get through", waiting, g.pace.rate)
	}
	g.inside++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.inside--
	}, nil
}

// turn waits until the request can be verified. The caller calls done.
func (g *gate) turn(ctx context.Context) (done func(), err error) {
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, refuse(Busy, "the wait for a verification: %w", context.Cause(ctx))
	}
	return func() {
		<-g.slots
		g.mu.Lock()
		defer g.mu.Unlock()
		g.pace.completed(time.Now(), g.inside > g.limits.Verifications)
	}, nil
}

// retryAfter is when a refused node should come back, in seconds: when those who wait now will be through, and spread, so
// that they do not come back together. It is short: a node that comes too early costs little, and one that comes late has
// waited while the master stood idle.
func (g *gate) retryAfter() int {
	g.mu.Lock()
	wait := g.pace.wait(g.inside)
	g.mu.Unlock()
	wait = max(minRetry, min(wait, maxRetry))
	wait += rand.N(max(wait/2, 2*time.Second))
	return int(math.Ceil(wait.Seconds()))
}
