// Package etcdtest runs real etcd clusters inside a test, as the nodes run them: with names that only the hosts block
// knows, the ports of production, and certificates. Only tests import it.
package etcdtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"rekindle/agent/etcd/peers"
)

// Options are those of a cluster. The zero value is what most tests want.
type Options struct {
	Name      string              // of the etcd cluster; empty: main
	Token     string              // initial cluster token; empty: one of its own
	Plaintext bool                // http instead of https with client certificates
	Quota     int64               // of the database, bytes; 0: etcd's own
	Configure func(*embed.Config) // has the last word about each start of each member
	Logger    *zap.Logger         // etcd's own; nil: silent
}

// Cluster is some members that know each other. It is stopped when the test ends.
type Cluster struct {
	Members []*Member
	TLS     *tls.Config // of a client that the members accept; nil with Plaintext

	t       testing.TB // whose end is the cluster's
	options Options
	certs   *authority
}

// Every member of the test binary has a name of its own, as instances have.
var members atomic.Int64

// Start starts a cluster of n voters and waits until it has a leader.
func Start(t testing.TB, n int, o Options) *Cluster {
	t.Helper()
	c := newCluster(t, o)
	for range n {
		c.Members = append(c.Members, c.New(t))
	}
	var initial []string
	for _, m := range c.Members {
		initial = append(initial, m.Name+"="+m.PeerURL)
	}
	var group sync.WaitGroup
	for _, m := range c.Members {
		group.Go(func() {
			if err := m.start("new", strings.Join(initial, ",")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	c.Leader(t)
	return c
}

func newCluster(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Name == "" {
		o.Name = "main"
	}
	if o.Token == "" {
		o.Token = fmt.Sprintf("%016x-g1", rand.Uint64())
	}
	c := &Cluster{t: t, options: o}
	if o.Plaintext {
		return c
	}
	c.certs = newAuthority(t)
	// Connections within the machine come from 127.0.0.1, and etcd checks where a peer's connection comes from.
	c.certs.issue(t, "member", []string{"*." + c.domain()}, net.IPv4(127, 0, 0, 1))
	c.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: c.certs.pool,
		Certificates: []tls.Certificate{c.certs.issue(t, "client", nil)},
	}
	return c
}

func (c *Cluster) domain() string { return c.options.Name + ".etcd.internal.demo" }

// New makes a member that belongs to nothing yet: name, address, certificates. Add it to etcd's list, then Join. Like the
// others it is stopped when the cluster's test ends, even if t is a part of that.
func (c *Cluster) New(t testing.TB) *Member {
	t.Helper()
	m := &Member{cluster: c, Name: fmt.Sprintf("i-%d", members.Add(1)), Address: Address(t), DataDir: c.t.TempDir()}
	scheme := "https"
	if c.options.Plaintext {
		scheme = "http"
	}
	host := m.Name + "." + c.domain()
	enter(host, netip.MustParseAddr(m.Address))
	m.ClientURL = scheme + "://" + host + ":2379"
	m.PeerURL = scheme + "://" + host + ":2380"
	c.t.Cleanup(m.Stop)
	return m
}

// Endpoints are those of all members, running or not.
func (c *Cluster) Endpoints() []peers.Endpoint {
	var all []peers.Endpoint
	for _, m := range c.Members {
		all = append(all, m.Endpoint())
	}
	return all
}

// Client speaks to all members, running or not, and is closed when the test ends.
func (c *Cluster) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return c.client(t, c.Members...)
}

func (c *Cluster) client(t testing.TB, to ...*Member) *clientv3.Client {
	t.Helper()
	var urls []string
	for _, m := range to {
		urls = append(urls, m.ClientURL)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: urls, TLS: c.TLS, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// Leader waits until the running members agree on a leader and returns it.
func (c *Cluster) Leader(t testing.TB) *Member {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if leader := c.agreed(); leader != nil {
			tick.Stop()
			return leader
		}
		if time.Now().After(deadline) {
			t.Fatalf("etcd %s: no leader within 30 s", c.options.Name)
		}
	}
}

func (c *Cluster) agreed() *Member {
	var id uint64
	var leader *Member
	for _, m := range c.Members {
		server := m.server()
		if server == nil {
			continue
		}
		if id == 0 {
			id = server.Lead()
		}
		if server.Lead() != id {
			return nil
		}
		if uint64(server.MemberID()) == id {
			leader = m
		}
	}
	return leader
}

// Address is an address of this machine's own on which ports 2379 and 2380 are free: one of the sixteen million of
// 127.0.0.0/8, so that tests that run beside each other do not meet.
func Address(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(256), 1+rand.IntN(254))
		if free(address, "2379") && free(address, "2380") {
			return address
		}
	}
	t.Fatal("no free address in 127.0.0.0/8 after 100 attempts")
	return ""
}

func free(address, port string) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
