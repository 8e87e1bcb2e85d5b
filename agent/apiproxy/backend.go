package apiproxy

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"rekindle/agent/discovery"
)

// State is what this node's own checks say of a backend.
type State string

// The states. A backend leaves Up only after two failures in a row.
const (
	Unknown State = "unknown" // not checked yet
	Up      State = "up"
	Unready State = "unready" // can be connected to, but does not answer in time, or that it is not ready
	Down    State = "down"    // cannot be connected to
)

// key tells backends apart: a master that was rebuilt at the same address is another one.
type key struct {
	instance string
	address  netip.AddrPort
}

// backend is what the proxy knows of one. All but its channel is guarded by the proxy's lock.
type backend struct {
	Backend
	gone    bool // discovery no longer has it; it is kept until its last connection is closed
	state   State
	since   time.Time // of the state
	why     error     // that it is not up
	suspect bool      // it did not take a connection since it was checked last
	pairs   map[*pair]struct{}
	dialing int
	total   int // connections, ever

	looks   chan struct{}      // asks for a check now
	unwatch context.CancelFunc // ends the checks
	undrain context.CancelFunc // ends the draining; nil: none
}

// look has the backend checked soon.
func (b *backend) look() {
	select {
	case b.looks <- struct{}{}:
	default: // it was asked for already
	}
}

// leaves tells whether its connections are to move to others.
func (b *backend) leaves() bool {
	return b.gone || b.Health == discovery.Leaving || b.state == Unready
}

// rank orders backends for new connections: the lower, the sooner it is tried.
func (b *backend) rank() int {
	switch {
	case b.state == Down:
		return 4
	case b.leaves():
		return 3
	case b.suspect:
		return 2
	case b.state == Unknown && b.Health != discovery.Healthy:
		return 1
	default:
		return 0
	}
}

// SetBackends says which API servers there are. An empty list changes nothing: when discovery knows of nobody, those that
// were there last are a better guess. A backend that is no longer listed gets no new connections; the old ones are
// closed one by one while it answers, and reset when it does not.
func (p *Proxy) SetBackends(all []Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := map[key]bool{}
	for _, given := range all {
		if p.isOwn(given) {
			continue
		}
		k := key{given.Instance, given.Address}
		listed[k] = true
		b := p.backends[k]
		if b == nil {
			b = &backend{state: Unknown, since: time.Now(), pairs: map[*pair]struct{}{}, looks: make(chan struct{}, 1)}
			b.Backend = given
			p.backends[k] = b
			p.watch(b)
		}
		b.Backend, b.gone = given, false
	}
	if len(listed) == 0 {
		return
	}
	for k, b := range p.backends {
		if !listed[k] && !b.gone {
			b.gone = true
			b.look()
		}
		p.forget(b)
	}
	p.settle()
}

// isOwn tells, and logs, whether a connection to the backend would come back to the proxy.
func (p *Proxy) isOwn(b Backend) bool {
	to := b.Address.Addr().Unmap()
	is := slices.ContainsFunc(p.own, func(own netip.AddrPort) bool {
		at := own.Addr().Unmap()
		return own.Port() == b.Address.Port() && (at == to || to.IsUnspecified() || at.IsUnspecified() && local(to))
	})
	if is {
		p.log.Error("an API server's address is the proxy's own, and is not used", "instance", b.Instance, "address", b.Address)
	}
	return is
}

// local tells whether the address is this machine's.
func local(address netip.Addr) bool {
	if address.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(address.AsSlice())
	})
}

// watch starts the checks of a backend once the proxy runs.
func (p *Proxy) watch(b *backend) {
	if p.ctx == nil || p.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	b.unwatch = cancel
	c := &check{address: b.Address.String(), o: &p.o, looks: b.looks}
	p.work.Go(func() { c.run(ctx, func(s State, err error) { p.checked(b, s, err) }) })
}

// checked takes note of a result.
func (p *Proxy) checked(b *backend, state State, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.suspect, b.why = false, why
	if b.state != state {
		p.log.Info("API server", "instance", b.Instance, "address", b.Address, "state", state, "was", b.state, "error", why)
		b.state, b.since = state, time.Now()
	}
	p.settle()
}

// settle moves connections from backends that leave or are down, if there is another that is up.
func (p *Proxy) settle() {
	for _, b := range p.backends {
		elsewhere := false
		for _, other := range p.backends {
			elsewhere = elsewhere || other != b && other.state == Up && other.rank() == 0
		}
		if elsewhere && b.state == Down {
			for c := range b.pairs {
				// On a bad network a check may fail while a connection works.
				if time.Since(time.Unix(0, c.heard.Load())) > p.o.Timeout && c.reset() {
					p.metrics.failed(failDown)
				}
			}
		}
		switch drain := elsewhere && b.leaves() && len(b.pairs) > 0; {
		case drain && b.undrain == nil && p.ctx != nil:
			p.drain(b)
		case !drain && b.undrain != nil:
			b.undrain()
			b.undrain = nil
		}
	}
}

// forget drops a backend that is gone and has no connection left.
func (p *Proxy) forget(b *backend) {
	if !b.gone || len(b.pairs)+b.dialing > 0 {
		return
	}
	if b.unwatch != nil {
		b.unwatch()
	}
	if b.undrain != nil {
		b.undrain()
	}
	if k := (key{b.Instance, b.Address}); p.backends[k] == b {
		delete(p.backends, k)
	}
}

// order returns the backends as they are to be tried: the better rank first, by chance within a rank, and of the first two
// the one with fewer connections.
func (p *Proxy) order() []*backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.DeleteFunc(slices.Collect(maps.Values(p.backends)), func(b *backend) bool { return b.gone })
	rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	slices.SortStableFunc(all, func(a, b *backend) int { return a.rank() - b.rank() })
	busy := func(b *backend) int { return len(b.pairs) + b.dialing }
	if len(all) > 1 && all[0].rank() == all[1].rank() && busy(all[1]) < busy(all[0]) {
		all[0], all[1] = all[1], all[0]
	}
	return all
}
