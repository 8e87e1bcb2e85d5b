package apiproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// hedge is after how long the next backend is tried beside one that did not answer yet: a master in the same region
	// takes some milliseconds.
	hedge = 250 * time.Millisecond
	// attempt bounds one try: enough to send a lost SYN again, which Linux does after 1 s.
	attempt = 1500 * time.Millisecond
	// userTimeout is how long sent bytes, or probes of an idle connection, may stay without an answer. Checks find a dead
	// master sooner; this is for what they do not see.
	userTimeout = 6 * time.Second
)

// dialed is the result of a try.
type dialed struct {
	conn *net.TCPConn
	to   *backend
	err  error
}

var errNoBackend = errors.New("no API server is known yet")

// dial connects to a backend. One after the other is tried, and all of them again, until Options.DialTime is over.
func (p *Proxy) dial(ctx context.Context) (*net.TCPConn, *backend, error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.DialTime)
	defer cancel()
	err := errNoBackend
	for {
		conn, to, failed := p.round(ctx)
		if conn != nil {
			return conn, to, nil
		}
		if failed != nil {
			err = failed
		}
		if !pause(ctx, hedge) {
			return nil, nil, err
		}
	}
}

// round tries every backend once, the next when one fails or is slow. The first that connects is taken.
func (p *Proxy) round(ctx context.Context) (*net.TCPConn, *backend, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan dialed)
	var errs []error
	rest, running := p.order(), 0
	for {
		if len(rest) > 0 {
			p.try(ctx, rest[0], results)
			rest, running = rest[1:], running+1
		}
		if running == 0 {
			return nil, nil, errors.Join(errs...)
		}
		slow := time.NewTimer(hedge)
		select {
		case r := <-results:
			if r.err == nil {
				slow.Stop()
				return r.conn, r.to, nil
			}
			errs, running = append(errs, fmt.Errorf("%s: %w", r.to.Instance, r.err)), running-1
		case <-slow.C:
		case <-ctx.Done():
			slow.Stop()
			return nil, nil, errors.Join(append(errs, context.Cause(ctx))...)
		}
		slow.Stop()
	}
}

// try connects to a backend and sends what came of it, unless nobody waits for it any more.
func (p *Proxy) try(ctx context.Context, b *backend, results chan<- dialed) {
	p.dials(b, 1)
	p.work.Go(func() {
		defer p.dials(b, -1)
		began := time.Now()
		conn, err := connect(ctx, b.Address.String(), attempt)
		switch {
		case err == nil:
			p.metrics.dial.Observe(time.Since(began).Seconds())
		case ctx.Err() == nil:
			p.refused(b, err)
		}
		select {
		case results <- dialed{conn, b, err}:
		case <-ctx.Done():
			if conn != nil {
				reset(conn)
			}
		}
	})
}

func (p *Proxy) dials(b *backend, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.dialing += n
	p.forget(b)
}

// refused takes note of a backend that does not take connections, if it is to blame for it.
func (p *Proxy) refused(b *backend, err error) {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		p.metrics.failed(failRefused)
	case errors.As(err, &timeout) && timeout.Timeout():
		p.metrics.failed(failTimeout)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM),
		errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.EADDRNOTAVAIL):
		p.metrics.failed(failLocal)
		return
	default:
		p.metrics.failed(failDial)
	}
	p.mu.Lock()
	b.suspect = true
	p.mu.Unlock()
	b.look()
}

// connect opens a TCP connection that notices when the other side no longer answers.
func connect(ctx context.Context, address string, timeout time.Duration) (*net.TCPConn, error) {
	d := net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 4},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var set error
			err := raw.Control(func(fd uintptr) {
				set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
			})
			return errors.Join(err, set)
		},
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}
