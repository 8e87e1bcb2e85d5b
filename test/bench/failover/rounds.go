package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"rekindle/agent/apiproxy"
	"rekindle/agent/discovery"
	"rekindle/agent/pki"
)

const (
	masters = 3
	clients = 24
	poll    = 100 * time.Millisecond

	// Requests count that begin so long after the loss. Those have patience more to be answered.
	afterKill = 1500 * time.Millisecond
	afterHole = 3 * time.Second
	patience  = 6 * time.Second

	// settle bounds the wait for the masters to be up again.
	settle = 20 * time.Second
)

// measureFailover takes one master away after the other, as often as rounds says, and returns the requests that count.
func measureFailover(ctx context.Context, rounds int, silent bool, log *slog.Logger) (all []request, err error) {
	if rounds == 0 {
		return nil, nil
	}
	authority, err := pki.New(pki.Kubernetes, "ECDSA-P256", time.Hour, time.Now())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.CertificatePEM())
	var nodes []*master
	defer func() {
		for _, m := range nodes {
			err = errors.Join(err, m.remove())
		}
	}()
	for i := range masters {
		m, err := newMaster(ctx, i, silent, authority)
		if m != nil {
			nodes = append(nodes, m)
		}
		if err != nil {
			return nil, err
		}
	}
	p, err := startProxy(ctx, roots, nodes, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	for n := range rounds {
		counted, err := round(ctx, p, roots, nodes[n%masters])
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", n+1, err)
		}
		worst := slices.MaxFunc(counted, func(a, b request) int { return int(a.took - b.took) })
		log.Info("round", "lost", nodes[n%masters].name, "requests", len(counted), "worst", worst.took, "repeated", worst.again)
		all = append(all, counted...)
	}
	return all, nil
}

// round takes a master away under clients, and gives it back.
func round(ctx context.Context, p *proxy, roots *x509.CertPool, m *master) ([]request, error) {
	if err := p.allUp(ctx); err != nil {
		return nil, err
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	beginning, enough := context.WithCancel(asking)
	defer enough()
	var group sync.WaitGroup
	var all []*client
	for range clients {
		c := newClient(p.at, roots)
		all = append(all, c)
		if err := c.first(asking); err != nil {
			return nil, err
		}
		group.Go(func() { c.poll(beginning, asking) })
	}
	await(ctx, poll*3+rand.N(time.Second)) // at any moment between two pings
	lost := time.Now()
	if err := m.lose(); err != nil {
		return nil, err
	}
	await(ctx, m.counts())
	enough()
	defer time.AfterFunc(patience, stop).Stop()
	group.Wait()
	var counted []request
	for _, c := range all {
		if c.master == m.name {
			counted = append(counted, c.between(lost, lost.Add(m.counts()))...)
		}
	}
	if len(counted) == 0 {
		return nil, errors.New("no client was connected to the lost master")
	}
	return counted, m.back(ctx)
}

// proxy is the API proxy of the minion.
type proxy struct {
	*apiproxy.Proxy
	at   string
	stop func() error
}

// startProxy runs one with the agent's own settings.
func startProxy(ctx context.Context, roots *x509.CertPool, nodes []*master, log *slog.Logger) (*proxy, error) {
	listeners, err := apiproxy.Listeners(ctx, "", netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	if c, err := listeners[0].(*net.TCPListener).SyscallConn(); err != nil {
		return nil, err
	} else if err := setCongestion(c); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &proxy{Proxy: apiproxy.New(apiproxy.Options{
		Name: discovery.APIName(cluster), Roots: func() *x509.CertPool { return roots }, Logger: log,
	}), at: listeners[0].Addr().String()}
	var backends []apiproxy.Backend
	for _, m := range nodes {
		backends = append(backends, apiproxy.Backend{Instance: m.name, Address: m.address, Health: discovery.Healthy})
	}
	p.SetBackends(backends)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, listeners...) }()
	p.stop = func() error { cancel(); return <-done }
	return p, nil
}

// allUp waits until the proxy finds all masters up.
func (p *proxy) allUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settle, errors.New("the masters did not come up again"))
	defer cancel()
	for slices.ContainsFunc(p.Status().Backends, func(b apiproxy.BackendStatus) bool { return b.State != apiproxy.Up }) {
		if await(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// await waits d, or until ctx ends.
func await(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
