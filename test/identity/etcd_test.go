package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/pki"
	"rekindle/test/identity/clusters"
	"rekindle/test/lab/node"
)

// TestRotationOfEtcd replaces what etcd and its clients know each other by, and what tokens are signed with. Etcd reads
// its authority only when it starts: it is restarted once in every step, in this node's turn, and keeps its data.
func TestRotationOfEtcd(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := cluster(t, "rotation-of-etcd")
	master := c.Boot(ctx, t, "master")
	put(ctx, t, c, master, "before any")
	for _, step := range []struct {
		args        []string
		generations int
		pods        []string
	}{
		{[]string{"begin"}, 2, []string{"kube-apiserver"}},
		{[]string{"promote", "--force"}, 2, []string{"kube-apiserver", "kube-controller-manager"}}, // the key that signs tokens
		{[]string{"finish", "--force"}, 1, []string{"kube-apiserver"}},
	} {
		t.Run(step.args[0], func(t *testing.T) {
			seen := clusters.See(t, master)
			for _, name := range []string{pki.Etcd, pki.ServiceAccount} {
				c.PKI(ctx, t, append([]string{"rotate", c.Store, step.args[0], name}, step.args[1:]...)...)
			}
			clusters.Resync(ctx, t, master)
			if err := c.Trusting(ctx, t, master, map[string]int{pki.Etcd: step.generations, pki.ServiceAccount: step.generations}); err != nil {
				t.Error(err)
			}
			if err := clusters.Sound(master, true); err != nil {
				t.Error(err)
			}
			seen.Restarted(t, master, step.pods, []string{"etcd"})
			c.TurnIsFree(ctx, t)
			put(ctx, t, c, master, step.args[0])
		})
	}
}

// put has a client with the certificate of health checks write to etcd and read all that was written before.
func put(ctx context.Context, t *testing.T, c *clusters.Cluster, n *node.Node, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, clusters.Limit)
	defer cancel()
	pair, err := tls.LoadX509KeyPair(n.Path("/etc/kubernetes/pki/etcd/healthcheck-client.crt"), n.Path("/etc/kubernetes/pki/etcd/healthcheck-client.key"))
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := os.ReadFile(n.Path("/etc/kubernetes/pki/etcd/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	address := net.JoinHostPort(c.Cloud.Instance(n.ID).PrivateIP.String(), "2379")
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"https://" + address}, Context: ctx, DialTimeout: 10 * time.Second,
		TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err = client.Put(ctx, "/identity/"+value, value); err != nil {
		t.Fatal(err)
	}
	first, err := client.Get(ctx, "/identity/before any")
	if err != nil || len(first.Kvs) != 1 {
		t.Errorf("what was written before the rotation is gone: %v", err)
	}
	served(t, c, n, address)
}

// served wants etcd to show a certificate of the generation that signs now, and to let nobody in without one.
func served(t *testing.T, c *clusters.Cluster, n *node.Node, address string) {
	t.Helper()
	signer := x509.NewCertPool()
	signer.AddCert(c.Authority(t.Context(), t, pki.Etcd).Certificates[0])
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: signer}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Errorf("%s: %v", address, err)
		return
	}
	defer conn.Close()
	// With TLS 1.3 a server refuses a client only after the handshake.
	if err := conn.SetDeadline(time.Now().Add(clusters.Limit)); err != nil {
		t.Fatal(err)
	}
	if _, err = conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s lets nobody in particular in: %v", n.ID, err)
	}
}
