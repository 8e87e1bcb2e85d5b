package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// Options say whom to speak to, and how.
type Options struct {
	Endpoints     []Endpoint
	TLS           *tls.Config   // with the client's certificate; its ServerName is not used. nil: plaintext
	Timeout       time.Duration // of one request; 0: 5 s
	ExpectCluster uint64        // the cluster id; 0: that of the first View
	LocalAddr     net.IP        // where connections come from; nil: the system's choice
	Logger        *slog.Logger  // nil: silent
}

const (
	defaultTimeout = 5 * time.Second
	// grace is how long an answer that would do waits for a better one.
	grace = time.Second
)

// Client speaks to the members at its endpoints. It may be used by several goroutines.
type Client struct {
	contacts []*contact
	raw      *clientv3.Client
	timeout  time.Duration
	cluster  atomic.Uint64 // 0: not known yet
	logger   *slog.Logger
}

var _ Cluster = (*Client)(nil)

// contact is a member with a connection of its own, so that a silent one holds nobody up.
type contact struct {
	Endpoint
	client *clientv3.Client
	// These share its connection. clientv3's own methods wait for a connection until the time is up, and then tell only that;
	// those of maintenance also dial anew for each call.
	cluster     pb.ClusterClient
	maintenance pb.MaintenanceClient
}

// Dial prepares connections and waits for none of them. ErrNotDefined without endpoints; any other error is about the
// options. The Client outlives ctx; close it.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if len(o.Endpoints) == 0 {
		return nil, ErrNotDefined
	}
	c := &Client{timeout: o.Timeout, logger: o.Logger}
	c.cluster.Store(o.ExpectCluster)
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	config, err := o.config(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	if c.raw, err = clientv3.New(config); err != nil {
		return nil, err
	}
	config.MaxUnaryRetries = 1 // retries are ours: clientv3's go on until the time is up, and then tell only that
	for _, e := range o.Endpoints {
		config.Endpoints = []string{e.URL}
		client, err := clientv3.New(config)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", e.Name, err), c.Close())
		}
		c.contacts = append(c.contacts, &contact{
			Endpoint: e, client: client,
			cluster:     pb.NewClusterClient(client.ActiveConnection()),
			maintenance: pb.NewMaintenanceClient(client.ActiveConnection()),
		})
	}
	return c, nil
}

// Raw is a client over all endpoints. It belongs to c: do not close it.
func (c *Client) Raw() *clientv3.Client { return c.raw }

// Local is a client that speaks to one endpoint only. It belongs to c: do not close it. ErrNotDefined when the endpoint is
// none of c's.
func (c *Client) Local(e Endpoint) (*clientv3.Client, error) {
	k, err := c.contact(e)
	if err != nil {
		return nil, err
	}
	return k.client, nil
}

func (c *Client) contact(e Endpoint) (*contact, error) {
	for _, k := range c.contacts {
		if k.Endpoint == e {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%s at %s: %w", e.Name, e.URL, ErrNotDefined)
}

// Close ends all connections.
func (c *Client) Close() error {
	errs := []error{c.raw.Close()}
	for _, k := range c.contacts {
		errs = append(errs, k.client.Close())
	}
	return errors.Join(errs...)
}

// config is that of a client over all endpoints.
func (o Options) config(ctx context.Context) (clientv3.Config, error) {
	addresses, names, urls := map[string]string{}, map[string]bool{}, []string{}
	for _, e := range o.Endpoints {
		host, address, err := e.resolve(o.TLS != nil)
		if err != nil {
			return clientv3.Config{}, fmt.Errorf("endpoint %q: %w", e.Name, err)
		}
		if other, ok := addresses[host]; ok && other != address {
			return clientv3.Config{}, fmt.Errorf("endpoint %q: %s stands for both %s and %s", e.Name, host, other, address)
		}
		if names[e.Name] {
			return clientv3.Config{}, fmt.Errorf("endpoint %q: two have this name", e.Name)
		}
		names[e.Name] = true
		addresses[host] = address
		urls = append(urls, e.URL)
	}
	dialer := &net.Dialer{Timeout: defaultTimeout}
	if o.LocalAddr != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: o.LocalAddr}
	}
	config := clientv3.Config{
		Context: ctx, Endpoints: urls, Logger: zap.NewNop(),
		// gRPC allows no shorter interval; etcd refuses pings on connections without requests (grpc-keepalive-min-time).
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		DialOptions: []grpc.DialOption{
			// gRPC asks for host:port of the URL and uses no proxy where there is a dialer.
			grpc.WithContextDialer(func(ctx context.Context, host string) (net.Conn, error) {
				address, ok := addresses[host]
				if !ok {
					return nil, fmt.Errorf("%s is the address of no endpoint", host)
				}
				return dialer.DialContext(ctx, "tcp", address)
			}),
			// A member that comes back is noticed within seconds; gRPC's own pauses grow to two minutes.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
				MinConnectTimeout: 3 * time.Second,
			}),
		},
	}
	if o.TLS != nil {
		config.TLS = o.TLS.Clone() // gRPC checks each certificate against the host of its own endpoint, whatever ServerName says
	}
	return config, nil
}

// resolve returns host:port of the URL, and the address and port that stand for it.
func (e Endpoint) resolve(secure bool) (host, address string, err error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return "", "", err
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "", "", fmt.Errorf("%q: a client URL begins with https:// or http://", e.URL)
	case secure && u.Scheme == "http":
		return "", "", fmt.Errorf("%q would be asked in plaintext although there are certificates: write https", e.URL)
	case !secure && u.Scheme == "https":
		return "", "", fmt.Errorf("%q needs a client certificate, and there is none", e.URL)
	case u.Port() == "" || u.Hostname() == "":
		return "", "", fmt.Errorf("%q: a client URL has a host and a port", e.URL)
	}
	ip, err := netip.ParseAddr(e.Address)
	if err != nil {
		return "", "", fmt.Errorf("address of %s: %w", u.Hostname(), err)
	}
	return u.Host, net.JoinHostPort(ip.String(), u.Port()), nil
}
