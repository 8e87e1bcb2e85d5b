// Package apiproxy is the node's own load balancer to the API servers. On a minion api.internal.<cluster> is 127.0.0.1,
// where the proxy listens, and each connection is carried to one of the masters. It forwards TCP and has no keys: TLS
// ends in the API server.
//
// A new connection goes to the less busy of two masters that answer, and to another one when that cannot be reached
// within a quarter of a second. Established connections of a master that no longer can be reached are reset, so that
// clients connect again at once instead of waiting for their own timeouts. Those of a master that leaves, or is not
// ready, are closed one by one. Neither happens while there is no other master that is known to be ready.
package apiproxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rekindle/agent/discovery"
)

// Options are what a Proxy is made of. What is 0 gets the default.
type Options struct {
	// Name is what the API servers' certificates are valid for: discovery.APIName(cluster).
	Name string
	// Roots returns the authorities of those certificates. It is called for each connection that a check opens. While it
	// is nil or returns nil, a master that can be connected to counts as ready.
	Roots func() *x509.CertPool

	Interval  time.Duration // between two pings of a master; 1 s
	Ready     time.Duration // between two looks at its /readyz; 5 s
	Timeout   time.Duration // of a ping, and of each step of connecting; 700 ms
	Answer    time.Duration // of /readyz, over a connection that pings watch: a busy master takes its time; 3 s
	DialTime  time.Duration // how long a client waits for any master to take its connection; 4 s
	DrainTime time.Duration // within which the connections of a master that leaves are closed; 15 s
	MaxConns  int           // beyond which clients wait in the listener's queue; 16384. Each takes 2 descriptors.

	Registerer prometheus.Registerer // nil: metrics are counted, and nobody sees them
	Logger     *slog.Logger          // nil: silence
}

// Backend is an API server.
type Backend struct {
	Instance string           `json:"instance"`
	Address  netip.AddrPort   `json:"address"`
	Health   discovery.Health `json:"health,omitempty"` // as the node itself sees it
}

// Proxy forwards connections. All methods may be called at the same time.
type Proxy struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	slots   chan struct{} // one for each open connection
	work    sync.WaitGroup

	mu       sync.Mutex
	ctx      context.Context // of Run, while it runs
	own      []netip.AddrPort
	backends map[key]*backend
}

// New makes a proxy that has no backends yet.
func New(o Options) *Proxy {
	for _, d := range []struct {
		of    *time.Duration
		value time.Duration
	}{
		{&o.Interval, time.Second}, {&o.Ready, 5 * time.Second}, {&o.Timeout, 700 * time.Millisecond}, {&o.Answer, 3 * time.Second},
		{&o.DialTime, 4 * time.Second}, {&o.DrainTime, 15 * time.Second},
	} {
		if *d.of == 0 {
			*d.of = d.value
		}
	}
	if o.MaxConns == 0 {
		o.MaxConns = 16384
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{o: o, log: o.Logger, slots: make(chan struct{}, o.MaxConns), backends: map[key]*backend{}}
	p.metrics = newMetrics(p)
	if o.Registerer != nil {
		o.Registerer.MustRegister(p.metrics)
	}
	return p
}

// Run serves the listeners, which must be TCP, and checks the backends until ctx ends or a listener breaks. Then it
// closes listeners and connections. It is called once; SetBackends may be called before.
func (p *Proxy) Run(ctx context.Context, listeners ...net.Listener) error {
	for _, l := range listeners {
		if _, ok := l.(*net.TCPListener); !ok {
			return fmt.Errorf("api proxy: %s: not a TCP listener", l.Addr())
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	p.begin(ctx, listeners)
	for _, l := range listeners {
		group.Go(func() error { return p.accept(ctx, l.(*net.TCPListener)) })
	}
	group.Go(func() error {
		<-ctx.Done()
		for _, l := range listeners {
			_ = l.Close() // accept tells
		}
		return nil
	})
	err := group.Wait()
	p.end()
	return err
}

// begin starts the checks of the backends that are known.
func (p *Proxy) begin(ctx context.Context, listeners []net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
	for _, l := range listeners {
		p.own = append(p.own, l.Addr().(*net.TCPAddr).AddrPort())
	}
	for k, b := range p.backends {
		if p.isOwn(b.Backend) {
			delete(p.backends, k)
			continue
		}
		p.watch(b)
	}
}

// end closes all connections and waits for all that was started.
func (p *Proxy) end() {
	p.mu.Lock()
	p.ctx = nil
	for _, b := range p.backends {
		for c := range b.pairs {
			c.close()
		}
	}
	p.mu.Unlock()
	p.work.Wait()
}

// The pauses after an accept that was refused, for want of descriptors or memory.
const (
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// accept takes connections while there are slots for them.
func (p *Proxy) accept(ctx context.Context, l *net.TCPListener) error {
	next := acceptPause
	for {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		client, err := l.AcceptTCP()
		if err == nil {
			next = acceptPause
			p.work.Go(func() {
				defer func() { <-p.slots }()
				p.serve(ctx, client)
			})
			continue
		}
		<-p.slots
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("api proxy: %w", err)
		}
		p.metrics.failed(failAccept)
		if !errors.Is(err, syscall.ECONNABORTED) { // that client went away; the next may be there
			p.log.Warn("the API proxy cannot accept a connection", "error", err)
			pause(ctx, next)
			next = min(2*next, acceptPauseMax)
		}
	}
}

// serve carries one connection.
func (p *Proxy) serve(ctx context.Context, client *net.TCPConn) {
	server, b, err := p.dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.metrics.failed(failNoBackend)
			p.log.Warn("no API server takes a connection", "error", err)
		}
		reset(client)
		return
	}
	c := &pair{client: client, server: server, sent: p.metrics.sent, received: p.metrics.received}
	if !p.open(b, c) {
		c.close()
		return
	}
	lost := c.carry()
	p.closed(b, c)
	if lost {
		p.metrics.failed(failLost)
		b.look()
	}
}

// open registers a connection, unless the proxy ends.
func (p *Proxy) open(b *backend, c *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx == nil || p.ctx.Err() != nil {
		return false
	}
	b.pairs[c] = struct{}{}
	b.total++
	return true
}

func (p *Proxy) closed(b *backend, c *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(b.pairs, c)
	p.forget(b)
}

// pause waits d, within a tenth either way, and tells whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(jittered(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func jittered(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }
