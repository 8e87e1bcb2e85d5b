package join

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"rekindle/agent/pki"
)

// ServerOptions say for whom a master signs, and whom it asks.
type ServerOptions struct {
	// Cluster, Account, Partition and Region are the master's own.
	Cluster, Account, Partition, Region string
	// STS is the endpoint that proofs must be for and that is asked: https://sts.<region>.<suffix>/, or the operator's.
	STS *url.URL
	// HTTP reaches STS. Redirects are not followed, whatever it says.
	HTTP *http.Client
	// Instances asks EC2: DescribeInstances. Those that EC2 does not know are not in the answer.
	Instances func(ctx context.Context, ids []string) (map[string]Instance, error)
	// Tags reads the cluster and the role from an instance's tags, each "" when they name none. It is an error when they
	// contradict each other.
	Tags func(tags map[string]string) (cluster, role string, err error)
	// Authority is kubernetes, with its key. It is called for each request that is granted, so that a rotation is seen.
	Authority func(ctx context.Context) (*pki.Authority, error)
	// Life is how long the certificates are valid.
	Life time.Duration
	// IAMRoles and Roles are config.Join's.
	IAMRoles, Roles []string
	Limits          Limits
	// Observe is told of every request for certificates that was answered, and of those for a nonce that were refused, with
	// the instance that the request said to come from: "" when that was not understood.
	Observe func(reason Reason, instance string, took time.Duration)
	Logger  *slog.Logger
}

// Server signs certificates for the cluster's instances. It is safe for concurrent use.
type Server struct {
	o        ServerOptions
	log      *slog.Logger
	http     *http.Client
	sts      *url.URL
	iamRoles map[string]bool
	proofs   proofParser
	nonces   *nonces
	gate     *gate
	room     *room
	lookups  *lookups
	busy     atomic.Int64 // refusals for Busy that were not logged
	told     atomic.Int64 // when one was, Unix
}

// NewServer makes no request.
func NewServer(o ServerOptions) (*Server, error) {
	for name, missing := range map[string]bool{
		"cluster": o.Cluster == "", "account": o.Account == "", "partition": o.Partition == "", "region": o.Region == "",
		"STS": o.STS == nil || o.STS.Host == "", "EC2": o.Instances == nil, "tags": o.Tags == nil,
		"authority": o.Authority == nil, "life": o.Life <= 0,
	} {
		if missing {
			return nil, fmt.Errorf("join server: no %s is known", name)
		}
	}
	roles, err := allowed(o.IAMRoles, o.Partition, o.Account)
	if err != nil {
		return nil, fmt.Errorf("join server: %w", err)
	}
	if o.Observe == nil {
		o.Observe = func(Reason, string, time.Duration) {}
	}
	o.Limits = o.Limits.withDefaults()
	sts := &url.URL{Scheme: o.STS.Scheme, Host: o.STS.Host, Path: cmp.Or(o.STS.Path, "/")}
	return &Server{
		o: o, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), http: stsClient(o.HTTP, o.Limits.Verifications), sts: sts, iamRoles: roles,
		proofs: newProofParser(sts, o.Region), nonces: newNonces(o.Cluster), gate: newGate(o.Limits), room: newRoom(o.Limits),
		lookups: newLookups(o.Instances),
	}, nil
}

// stsClient takes the connections of a client and nothing else: no redirects, no cookies.
func stsClient(from *http.Client, parallel int) *http.Client {
	client := &http.Client{
		Timeout:       stsTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if from != nil && from.Transport != nil {
		client.Transport = from.Transport
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxIdleConnsPerHost = parallel // or a mass join makes a TLS connection for each proof
		client.Transport = t
	}
	return client
}

// Handler serves the protocol. Its connections must be bounded by whoever uses it: see Serve.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+NoncePath, s.serveNonce)
	mux.HandleFunc("POST "+JoinPath, s.serveJoin)
	return mux
}

// InFlight is how many requests for certificates the server is at, those included that wait for their turn.
func (s *Server) InFlight() int {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	return s.gate.inside
}

// The times that a client has. A request is 72 KiB at most, and those who take longer for it hold a connection that
// others need.
const (
	headerTime = 5 * time.Second
	readTime   = 10 * time.Second
	idleTime   = 15 * time.Second // between the nonce and the request the node gets its credentials from IMDS
	closeTime  = 5 * time.Second  // for the requests that are on their way when the server ends
)

// Serve answers on the listeners until ctx ends, and then returns nil. It ends when one of them fails, and closes them all.
func (s *Server) Serve(
	ctx context.Context, listeners []net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error),
) error {
	server := s.http1(ctx, certificate)
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var serving sync.WaitGroup
	for _, l := range listeners {
		limited := newLimited(l, s.room, s.crowded)
		serving.Go(func() { stop(server.ServeTLS(limited, "", "")) })
	}
	<-running.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	serving.Wait()
	s.lookups.wg.Wait() // they end with those who ask
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("join server: %w", context.Cause(running))
}

// http1 serves HTTP/1.1 alone, without resumption of TLS: two requests after each other on one connection in weeks have
// no use for HTTP/2 or tickets, nor for what both can be attacked with.
func (s *Server) http1(ctx context.Context, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, SessionTicketsDisabled: true},
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      readTime + s.o.Limits.Deadline,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    2 * MaxProof,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // scanners and broken handshakes
	}
}

// crowded refuses a connection of an address that has enough of them.
func (s *Server) crowded(from netip.Addr) {
	s.count(Busy, &attempt{from: from}, 0)
	s.tell(Busy, errors.New("too many connections from this address"), &attempt{from: from})
}
