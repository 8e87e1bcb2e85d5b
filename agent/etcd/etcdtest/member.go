package etcdtest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"rekindle/agent/etcd/peers"
)

// etcd reserves two files of 64 MB for each member's log; tests write little.
func init() { wal.SegmentSizeBytes = 4 << 20 }

// Member is one etcd server, running or not.
type Member struct {
	Name      string
	Address   string // what the names of its URLs stand for
	ClientURL string
	PeerURL   string
	DataDir   string // etcd's own: it holds "member"

	cluster *Cluster
	mu      sync.Mutex
	etcd    *embed.Etcd // nil: stopped
	initial string      // the initial cluster it was started with last
}

// Endpoint is where the member answers.
func (m *Member) Endpoint() peers.Endpoint {
	return peers.Endpoint{Name: m.Name, URL: m.ClientURL, Address: m.Address}
}

// DB is the member's database file.
func (m *Member) DB() string { return filepath.Join(m.DataDir, "member", "snap", "db") }

// Client speaks to this member alone and is closed when the test ends.
func (m *Member) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return m.cluster.client(t, m)
}

// ID is the member's id in etcd, 0 while it does not run.
func (m *Member) ID() uint64 {
	if server := m.server(); server != nil {
		return uint64(server.MemberID())
	}
	return 0
}

func (m *Member) server() *etcdserver.EtcdServer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.etcd == nil {
		return nil
	}
	return m.etcd.Server
}

// Join starts a member that etcd's list names already, and makes it one of the cluster's. It waits until the member
// answers, which a learner does once it has heard of the leader.
func (m *Member) Join(t testing.TB) {
	t.Helper()
	initial := []string{m.Name + "=" + m.PeerURL}
	for _, other := range m.cluster.Members {
		if other != m && other.server() != nil {
			initial = append(initial, other.Name+"="+other.PeerURL)
		}
	}
	if err := m.start("existing", strings.Join(initial, ",")); err != nil {
		t.Fatal(err)
	}
	for _, other := range m.cluster.Members {
		if other == m {
			return
		}
	}
	m.cluster.Members = append(m.cluster.Members, m)
}

// Restart starts a stopped member from its own data.
func (m *Member) Restart(t testing.TB) {
	t.Helper()
	if err := m.start("existing", m.initial); err != nil {
		t.Fatal(err)
	}
}

// Begin starts the member alone, from whatever its data directory holds: what a restore left there, for instance.
func (m *Member) Begin(t testing.TB) {
	t.Helper()
	if err := m.start("existing", m.Name+"="+m.PeerURL); err != nil {
		t.Fatal(err)
	}
}

// Stop ends the member in good order: a leader hands over first. A stopped one is left alone.
func (m *Member) Stop() {
	if etcd := m.take(); etcd != nil {
		etcd.Close()
	}
}

// Kill ends the member without a word to the others. Its files are left as the page cache has them, as after SIGKILL.
func (m *Member) Kill() {
	if etcd := m.take(); etcd != nil {
		etcd.Server.HardStop()
		etcd.Close()
	}
}

// Wipe empties the disk of a stopped member.
func (m *Member) Wipe(t testing.TB) {
	t.Helper()
	if m.server() != nil {
		t.Fatalf("member %s runs: stop it before its disk is emptied", m.Name)
	}
	if err := os.RemoveAll(filepath.Join(m.DataDir, "member")); err != nil {
		t.Fatal(err)
	}
}

func (m *Member) take() *embed.Etcd {
	m.mu.Lock()
	defer m.mu.Unlock()
	etcd := m.etcd
	m.etcd = nil
	return etcd
}

func (m *Member) start(state, initial string) error {
	etcd, err := embed.StartEtcd(m.config(state, initial))
	if err != nil {
		return fmt.Errorf("member %s: %w", m.Name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	m.mu.Lock()
	m.etcd, m.initial = etcd, initial
	m.mu.Unlock()
	select {
	case <-etcd.Server.ReadyNotify():
		return nil
	case err := <-etcd.Err():
		m.Stop()
		return fmt.Errorf("member %s: %w", m.Name, err)
	case <-ctx.Done():
		m.Stop()
		return fmt.Errorf("member %s: not ready within 60 s", m.Name)
	}
}

func (m *Member) config(state, initial string) *embed.Config {
	o := m.cluster.options
	c := embed.NewConfig()
	c.Name, c.Dir = m.Name, m.DataDir
	c.ClusterState, c.InitialCluster, c.InitialClusterToken = state, initial, o.Token
	scheme, _, _ := strings.Cut(m.ClientURL, ":")
	c.ListenClientUrls = []url.URL{{Scheme: scheme, Host: net.JoinHostPort(m.Address, "2379")}}
	c.ListenPeerUrls = []url.URL{{Scheme: scheme, Host: net.JoinHostPort(m.Address, "2380")}}
	c.AdvertiseClientUrls = []url.URL{parse(m.ClientURL)}
	c.AdvertisePeerUrls = []url.URL{parse(m.PeerURL)}
	if certs := m.cluster.certs; certs != nil {
		info := transport.TLSInfo{
			CertFile: certs.path("member.crt"), KeyFile: certs.path("member.key"), TrustedCAFile: certs.path("ca.crt"),
			ClientCertAuth: true,
		}
		c.ClientTLSInfo, c.PeerTLSInfo = info, info
	}
	c.QuotaBackendBytes = o.Quota
	// Slow enough for a busy machine, fast enough for a test; nothing here survives a power cut anyway.
	c.TickMs, c.ElectionMs, c.UnsafeNoFsync = 50, 1000, true
	c.EnableGRPCGateway = false
	lg := o.Logger
	if lg == nil {
		lg = zap.NewNop()
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(lg)
	if o.Configure != nil {
		o.Configure(c)
	}
	return c
}

func parse(raw string) url.URL {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err) // made by New
	}
	return *u
}
