package join

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"rekindle/agent/pki"
	"rekindle/agent/status"
)

// joinLimit is how long Join goes on when its context has no deadline.
const joinLimit = 15 * time.Minute

// Client has a master sign this node's certificates. It implements pki.Joiner.
type Client struct {
	Cluster  string
	Instance string // this instance's id
	Node     string // the name of its Kubernetes Node
	// Masters are where masters may serve joins, "host:port". It is asked before every round: masters come and go.
	Masters func(ctx context.Context) ([]string, error)
	// Prove presigns a GetCallerIdentity at a time, with headers that are signed along.
	Prove func(ctx context.Context, headers map[string]string, at time.Time) (url string, err error)
	// Dial replaces the connections to masters. For tests.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger
}

var _ pki.Joiner = (*Client)(nil)

// Join implements pki.Joiner. It asks until ctx ends: a master that is down comes back or is replaced, and an instance
// that EC2 shows without its tags has them a while later.
func (c *Client) Join(ctx context.Context, roots []*x509.Certificate, requests []pki.Request) ([][]byte, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, joinLimit)
		defer cancel()
	}
	s, err := c.newSeeker(roots, requests)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	began := time.Now()
	defer func() { s.quiet() }()
	for s.waiting(ctx, "one of the masters"); ; s.tell(ctx) {
		certificates, err := s.round(ctx)
		if err == nil {
			s.log.Info("a master signed", "master", s.latest, "certificates", len(certificates), "took", time.Since(began))
			return certificates, nil
		}
		select {
		case <-time.After(s.pause(err)):
		case <-ctx.Done():
			return nil, s.gaveUp(ctx)
		}
	}
}

// round asks the masters until one signs, or one says that it would be of no use to ask the others now. Its error is what
// the pause before the next round goes by.
func (s *seeker) round(ctx context.Context) ([][]byte, error) {
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	s.rounds++
	verdict := errUnreached
	for left := s.order(); len(left) > 0; {
		conn, address, rest := s.connect(ctx, left)
		if conn == nil {
			break
		}
		left = rest
		certificates, err := s.ask(ctx, conn, address, len(left) == 0)
		if err == nil {
			return certificates, nil
		}
		if own, ok := errors.AsType[*ownError](err); ok {
			s.own = own
			return nil, err
		}
		s.failed(ctx, address, err)
		if r, ok := errors.AsType[*refused](err); ok {
			verdict = err
			if r.Reason != Unavailable { // that alone is a matter between this one master and AWS
				break
			}
		}
	}
	return nil, verdict
}

// look finds out where the masters are. When that cannot be known now, those of the last round are asked again.
func (s *seeker) look(ctx context.Context) error {
	s.own = nil
	masters, err := s.Masters(ctx)
	if err == nil {
		s.know(masters)
	}
	switch {
	case len(s.known) > 0:
		return nil
	case err != nil:
		s.own = &ownError{"masters", err}
		return s.own
	}
	return errNoMaster
}

// tell says in `rekindle status`, and once in the log, why the node still waits.
func (s *seeker) tell(ctx context.Context) {
	why := s.why()
	if why == s.told {
		return
	}
	s.told = why
	reason, hint := s.remedy()
	s.log.Info("no certificates yet", "reason", reason, "why", why, "hint", hint)
	s.waiting(ctx, why+" ("+hint+")")
}

func (s *seeker) waiting(ctx context.Context, forWhat string) {
	s.quiet()
	s.quiet = status.Waiting(ctx, "join: a master's answer", forWhat)
}
