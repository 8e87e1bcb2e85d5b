package apiproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// checkGap is the least time between two looks, whatever asks for them.
const checkGap = 50 * time.Millisecond

// check watches one backend over a connection of its own: by HTTP/2 pings, which cost the API server next to nothing, and
// now and then by /readyz, which anybody may read.
type check struct {
	address string
	o       *Options
	looks   <-chan struct{}

	conn  *http.ClientConn // nil: none
	pings bool             // over conn
	lost  chan struct{}    // closed with conn

	failures int // in a row
}

// unreachable is what a look ends with when the machine or its kernel did not take the connection.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// run reports the state after each look until ctx ends. One failure is not reported, and a connection that breaks is one:
// after the second in a row, the state is what the second says.
func (c *check) run(ctx context.Context, report func(State, error)) {
	defer c.drop()
	for {
		answered, err := c.look(ctx)
		if ctx.Err() != nil {
			return
		}
		next := c.o.Ready
		switch {
		case err == nil:
			c.failures = 0
			report(Up, nil)
			if !c.pings {
				next = c.o.Interval
			}
		default:
			c.drop()
			c.failures++
			next = c.o.Interval
			if c.failures == 1 && !answered {
				next = 0
			}
			if c.failures > 1 {
				report(stateOf(err), err)
			}
		}
		if !pause(ctx, checkGap) || !c.wait(ctx, next) {
			return
		}
	}
}

func stateOf(err error) State {
	if errors.As(err, new(unreachable)) {
		return Down
	}
	return Unready
}

// wait waits until the next look is due, or sooner when something happened, and tells whether ctx still runs. A backend
// that fails is looked at no sooner.
func (c *check) wait(ctx context.Context, next time.Duration) bool {
	lost, looks := c.lost, c.looks
	if c.failures > 0 {
		lost, looks = nil, nil
	}
	timer := time.NewTimer(jittered(next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-lost:
		c.drop()
		c.failures = 1
	case <-looks:
	case <-ctx.Done():
		return false
	}
	return true
}

// look asks once. Answered tells whether the backend said something, even if it was not that it is ready.
func (c *check) look(ctx context.Context) (answered bool, err error) {
	if c.conn != nil && c.conn.Err() != nil {
		c.drop()
	}
	if c.conn == nil {
		if err := c.connect(ctx); c.conn == nil {
			return false, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Answer)
	defer cancel()
	request := &http.Request{Method: http.MethodGet, Host: c.o.Name, Header: http.Header{"User-Agent": {"rekindle"}},
		URL: &url.URL{Scheme: "https", Host: c.o.Name, Path: "/readyz"}}
	response, err := c.conn.RoundTrip(request.WithContext(ctx))
	if err != nil {
		return false, fmt.Errorf("/readyz: %w", err)
	}
	c.pings = response.ProtoMajor == 2
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return true, fmt.Errorf("/readyz: %w", err)
	}
	// Where anonymous requests are not allowed the answer is 401 or 403: it serves.
	if response.StatusCode >= 500 {
		return true, fmt.Errorf("/readyz: %s", response.Status)
	}
	return true, nil
}

// connect opens the connection, with a deadline for each of its steps. Without authorities there is none to keep.
func (c *check) connect(ctx context.Context) error {
	lost := make(chan struct{})
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		conn, err := connect(ctx, address, c.o.Timeout)
		if err != nil {
			return nil, unreachable{err}
		}
		return &watched{Conn: conn, lost: lost}, nil
	}
	var roots *x509.CertPool
	if c.o.Roots != nil {
		roots = c.o.Roots()
	}
	if roots == nil {
		conn, err := dial(ctx, "tcp", c.address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	transport := &http.Transport{
		DialContext:         dial,
		TLSHandshakeTimeout: c.o.Timeout,
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: c.o.Name, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: c.o.Interval, PingTimeout: c.o.Timeout},
	}
	conn, err := transport.NewClientConn(ctx, "https", c.address)
	if err != nil {
		return err
	}
	c.conn, c.lost = conn, lost
	return nil
}

// drop closes the connection.
func (c *check) drop() {
	if c.conn != nil {
		_ = c.conn.Close() // it may be closed already
	}
	c.conn, c.lost, c.pings = nil, nil, false
}

// watched tells when a connection is closed: HTTP/2 does that when a ping is not answered, or the backend ends it.
type watched struct {
	net.Conn
	lost chan struct{}
	once sync.Once
}

func (w *watched) Close() error {
	w.once.Do(func() { close(w.lost) })
	return w.Conn.Close()
}
