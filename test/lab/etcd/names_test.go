package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"sigs.k8s.io/yaml"

	"rekindle/agent/host"
	"rekindle/agent/pki"
)

// asEtcd makes the test binary etcd itself.
const asEtcd = "REKINDLE_TEST_AS_ETCD"

func TestMain(m *testing.M) {
	if os.Getenv(asEtcd) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const domain = "main.etcd.internal.demo"

// machine is an address, a root, and certificates as the plan asks for them.
type machine struct {
	root, address string
	client, peer  string // ports, the same everywhere
	cmd           *exec.Cmd
}

// TestMembersFindEachOtherByName: a second member joins under a name that is not its instance's, by lines that are written
// into the first one's hosts file while that runs; then it moves to a third address with its data, and is found there.
func TestMembersFindEachOtherByName(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real members")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	authority, err := pki.New("etcd", "ECDSA-P256", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	client, peer := port(t), port(t)
	var m [3]*machine
	for i := range m {
		m[i] = &machine{root: t.TempDir(), address: fmt.Sprintf("127.58.%d.4", 16*i), client: client, peer: peer}
		m[i].certify(t, authority, fmt.Sprintf("i-%d", i+1))
	}
	first, second, third := m[0], m[1], m[2]

	first.knows(t, "i-1", first)
	first.start(t, "i-1", filepath.Join(first.root, "data"), "new", "i-1")
	put(ctx, t, first, "before")

	url := "https://i-0." + domain + ":" + peer
	id := addLearner(ctx, t, first, url)
	first.knows(t, "i-1", first, "i-0", second)
	second.knows(t, "i-1", first, "i-0", second)
	data := filepath.Join(third.root, "volume")
	second.start(t, "i-0", data, "existing", "i-1", "i-0")
	promote(ctx, t, first, id)
	put(ctx, t, second, "on the second")

	second.kill()
	first.knows(t, "i-1", first, "i-0", third)
	third.knows(t, "i-1", first, "i-0", third)
	third.start(t, "i-0", data, "existing", "i-1", "i-0")
	put(ctx, t, third, "on the third") // needs both members
	for _, m := range m {
		// One direction would be enough for raft, so that nobody notices.
		if said, err := os.ReadFile(filepath.Join(m.root, "log")); err != nil || bytes.Contains(said, []byte("rejected connection")) {
			t.Errorf("%s let somebody down: %v", m.address, err)
		}
	}
}

func port(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// certify issues one certificate for server, peer and client.
func (m *machine) certify(t *testing.T, authority *pki.Authority, instance string) {
	t.Helper()
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		t.Fatal(err)
	}
	spec := pki.Spec{
		CommonName: instance, Usages: []string{pki.Server, pki.Client}, Life: time.Hour,
		Names: []string{instance + "." + domain, "*." + domain, m.address, "127.0.0.1"},
	}
	cert, err := pki.Issue(authority, spec, key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "ca.crt", authority.CertificatePEM())
	m.write(t, "m.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	m.write(t, "m.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (m *machine) write(t *testing.T, path string, data []byte) {
	t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// knows writes the hosts file: names and machines in turns.
func (m *machine) knows(t *testing.T, pairs ...any) {
	t.Helper()
	var file strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&file, "%s %s.%s\n", pairs[i+1].(*machine).address, pairs[i], domain) //nolint:errcheck // the test's own pairs
	}
	m.write(t, "etc/hosts", []byte(file.String()))
}

// start runs a member whose data is at a path.
func (m *machine) start(t *testing.T, name, data, state string, members ...string) {
	t.Helper()
	var cluster []string
	for _, member := range members {
		cluster = append(cluster, fmt.Sprintf("%s=https://%s.%s:%s", member, member, domain, m.peer))
	}
	section := map[string]any{
		"cert-file": filepath.Join(m.root, "m.crt"), "key-file": filepath.Join(m.root, "m.key"),
		"trusted-ca-file": filepath.Join(m.root, "ca.crt"), "client-cert-auth": true,
	}
	config, err := yaml.Marshal(map[string]any{
		"name": name, "data-dir": data, "initial-cluster": strings.Join(cluster, ","), "initial-cluster-state": state,
		"initial-cluster-token":       "names",
		"listen-client-urls":          "https://" + net.JoinHostPort(m.address, m.client),
		"listen-peer-urls":            "https://" + net.JoinHostPort(m.address, m.peer),
		"advertise-client-urls":       "https://" + name + "." + domain + ":" + m.client,
		"initial-advertise-peer-urls": "https://" + name + "." + domain + ":" + m.peer,
		"client-transport-security":   section, "peer-transport-security": section,
	})
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "etcd.yaml", config)
	log, err := os.Create(filepath.Join(m.root, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	m.cmd = exec.Command(os.Args[0], "--config-file="+filepath.Join(m.root, "etcd.yaml"))
	m.cmd.Env = []string{asEtcd + "=1", host.RootEnv + "=" + m.root}
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			said, err := os.ReadFile(filepath.Join(m.root, "log"))
			t.Logf("%s: %v\n%s", m.address, err, said)
		}
	})
}

func (m *machine) kill() {
	m.cmd.Process.Kill() //nolint:errcheck // it may be gone
	m.cmd.Wait()         //nolint:errcheck // it was killed
}

// to is a client of one member.
func to(ctx context.Context, t *testing.T, m *machine) *clientv3.Client {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(m.root, "m.crt"), filepath.Join(m.root, "m.key"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(filepath.Join(m.root, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}}
	config.RootCAs.AppendCertsFromPEM(authority)
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(m.address, m.client))
	}
	c, err := clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: []string{"https://anyone." + domain + ":" + m.client}, TLS: config, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // the test is over
	return c
}

// eventually tries until it works or the time is over.
func eventually(ctx context.Context, t *testing.T, what string, try func(ctx context.Context) error) {
	t.Helper()
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := try(once)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func put(ctx context.Context, t *testing.T, m *machine, value string) {
	t.Helper()
	c := to(ctx, t, m)
	eventually(ctx, t, "write "+value, func(ctx context.Context) error {
		_, err := c.Put(ctx, "key", value)
		return err
	})
}

func addLearner(ctx context.Context, t *testing.T, m *machine, url string) (id uint64) {
	t.Helper()
	c := to(ctx, t, m)
	eventually(ctx, t, "add a learner", func(ctx context.Context) error {
		added, err := c.MemberAddAsLearner(ctx, []string{url})
		if err == nil {
			id = added.Member.ID
		}
		return err
	})
	return id
}

func promote(ctx context.Context, t *testing.T, m *machine, id uint64) {
	t.Helper()
	c := to(ctx, t, m)
	eventually(ctx, t, "promote", func(ctx context.Context) error {
		_, err := c.MemberPromote(ctx, id)
		return err
	})
}
