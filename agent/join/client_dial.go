package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

const (
	// stagger is the head start of one master over the next, RFC 8305's. Rebuilt masters leave addresses behind that
	// answer nothing, and each must cost a moment, not a time-out.
	stagger = 250 * time.Millisecond
	// dialLimit is for one connection. The kernel of a master answers even when its processes are busy.
	dialLimit = 2 * time.Second
	// The first handshake may take as long: with a master that hangs the node goes on soon. One that has thousands of
	// nodes to serve is slower than that: they wait in its kernel's queue, and who leaves it begins at its end again. So
	// from round to round a handshake may take longer, and with the last master that is left as long as any.
	firstHandshake, lastHandshake = 2 * time.Second, 16 * time.Second
)

// connect reaches the first of the masters that can be reached, and returns those that are left to ask after it. Without
// any it returns no connection.
//
// It connects by itself, not through net/http's transport: masters are in the node's own VPC, where an HTTPS_PROXY of
// the environment cannot reach them, and behind a proxy a master would not see the node's address, which it checks.
func (s *seeker) connect(ctx context.Context, masters []string) (conn net.Conn, address string, left []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		address string
		conn    net.Conn
		err     error
	}
	results := make(chan result)
	started, running := 0, 0
	start := func() {
		address := masters[started]
		started, running = started+1, running+1
		go func() {
			conn, err := s.dial(ctx, address)
			results <- result{address, conn, err}
		}()
	}
	left = slices.Clone(masters)
	drop := func(address string) {
		left = slices.DeleteFunc(left, func(m string) bool { return m == address })
	}
	next := time.NewTimer(stagger)
	defer next.Stop()
	start()
	for running > 0 {
		select {
		case <-next.C:
			if conn == nil && started < len(masters) {
				start()
				next.Reset(stagger)
			}
		case r := <-results:
			running--
			switch {
			case r.err == nil && conn == nil:
				conn, address = r.conn, r.address
				drop(address)
				cancel()
			case r.err == nil:
				_ = r.conn.Close() // connected at the same moment; it stays among those that are left
			case conn == nil:
				s.failed(ctx, r.address, fmt.Errorf("connect: %w", bare(r.err)))
				drop(r.address)
				if started < len(masters) && ctx.Err() == nil {
					start()
					next.Reset(stagger)
				}
			}
		}
	}
	return conn, address, left
}

func (s *seeker) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if s.Dial != nil {
		return s.Dial(ctx, "tcp", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// handshake makes sure that the other end is a master of this cluster.
func (s *seeker) handshake(ctx context.Context, conn net.Conn, last bool) (*tls.Conn, error) {
	limit := lastHandshake
	if !last {
		limit = min(firstHandshake<<min(s.rounds-1, 8), lastHandshake)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	secure := tls.Client(conn, &tls.Config{
		RootCAs: s.roots, ServerName: ServerName(s.Cluster), MinVersion: tls.VersionTLS13,
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", untimely(bare(err), time.Now()))
	}
	return secure, nil
}

// clockError is about a certificate that does not count at the time that this node's clock shows.
type clockError struct{ text string }

func (e *clockError) Error() string { return e.text }

// untimely says so when a certificate was not accepted because of the time: on a node that has just booted the clock is
// as likely to be wrong as the certificate.
func untimely(err error, now time.Time) error {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || invalid.Reason != x509.Expired || invalid.Cert == nil {
		return err
	}
	const layout = "2006-01-02 15:04 MST"
	clock := "this node's clock says " + now.UTC().Format(layout)
	if now.Before(invalid.Cert.NotBefore) {
		return &clockError{"the certificate is not yet valid: " + clock + ", and it counts from " +
			invalid.Cert.NotBefore.UTC().Format(layout)}
	}
	return &clockError{"the certificate has expired: " + clock + ", and it counted until " +
		invalid.Cert.NotAfter.UTC().Format(layout)}
}

// bare leaves the addresses and ports of a connection out of its error: the same trouble must read the same each time.
func bare(err error) error {
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		err = operation.Err
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	return err
}
