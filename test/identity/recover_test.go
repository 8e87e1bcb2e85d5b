package identity

import (
	"bytes"
	"context"
	"crypto"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rekindle/agent/pki"
	"rekindle/agent/status"
	"rekindle/test/identity/clusters"
	"rekindle/test/lab/node"
)

const day = 24 * time.Hour

// aged is a cluster with a master and a minion, whose kubernetes authority is two months old: it was imported.
var aged struct {
	once sync.Once
	*clusters.Cluster
	master, minion *node.Node
}

func agedCluster(t *testing.T) (c *clusters.Cluster, master, minion *node.Node) {
	t.Helper()
	aged.once.Do(func() {
		c := cluster(t, "aged")
		a, err := pki.New(pki.Kubernetes, "ECDSA-P256", 3650*day, time.Now().Add(-60*day))
		if err != nil {
			t.Fatal(err)
		}
		key, err := a.KeyPEM()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, filepath.Join(dir, "ca.crt"), a.CertificatePEM())
		write(t, filepath.Join(dir, "ca.key"), key)
		c.PKI(t.Context(), t, "import", dir, c.Store, "--only", pki.Kubernetes)
		// The nodes are of more than one test, so neither's context may end them.
		ctx := context.WithoutCancel(t.Context())
		minion := c.Launch(t, c.Spec("minion")) // it waits for the master
		aged.master = c.Boot(ctx, t, "master")
		clusters.Ready(ctx, t, minion)
		aged.Cluster, aged.minion = c, minion
	})
	if aged.Cluster == nil {
		t.Skip("the cluster did not come up in another test")
	}
	return aged.Cluster, aged.master, aged.minion
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExpiredMinionRecovers: a minion that was off until its certificates had expired joins again by itself.
func TestExpiredMinionRecovers(t *testing.T) {
	t.Parallel()
	_, master, minion := agedCluster(t)
	if err := minion.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	authority, err := clusters.Held(master, pki.Kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	before, err := clusters.Leaves(minion)
	if err != nil {
		t.Fatal(err)
	}
	const clientPath, servingPath = "/var/lib/kubelet/pki/kubelet-client-current.pem", "/var/lib/kubelet/pki/kubelet.crt"
	client, serving := expired(t, authority, before[clientPath]), expired(t, authority, before[servingPath])
	write(t, minion.Path(clientPath), append(client.certificate, client.key...))
	write(t, minion.Path(servingPath), serving.certificate)
	write(t, minion.Path("/var/lib/kubelet/pki/kubelet.key"), serving.key)
	if err := os.Chmod(minion.Path(servingPath), 0o644); err != nil {
		t.Fatal(err)
	}
	old, err := clusters.Leaves(minion)
	if err != nil {
		t.Fatal(err)
	}

	kubelet := minion.Processes()
	if err := minion.Start(); err != nil {
		t.Fatal(err)
	}
	if s := clusters.Ready(t.Context(), t, minion); s.State != status.StateReady {
		t.Errorf("%s: %s: %s", s.State, s.Reason, s.Message)
	}
	now, err := clusters.Leaves(minion)
	if err != nil {
		t.Fatal(err)
	}
	for path := range before {
		renewed := path == clientPath || path == servingPath
		if old[path].NotAfter.Before(time.Now()) != renewed {
			t.Fatalf("%s should have expired by now: %t; it does at %s", path, renewed, old[path].NotAfter)
		}
		if same := now[path].Certificate != nil && old[path].Equal(now[path].Certificate); same == renewed {
			t.Errorf("%s is the same: %t", path, same)
		}
		if renewed && (time.Until(now[path].NotAfter) < 29*day || now[path].CheckSignatureFrom(authority.Certificates[0]) != nil) {
			t.Errorf("%s counts until %s", path, now[path].NotAfter)
		}
		if bytes.Equal(now[path].SerialNumber.Bytes(), before[path].SerialNumber.Bytes()) == renewed {
			t.Errorf("%s has serial %x, and had %x at first", path, now[path].SerialNumber, before[path].SerialNumber)
		}
	}
	if err := clusters.Sound(minion, true); err != nil {
		t.Error(err)
	}
	if after := minion.Processes(); len(kubelet) == 0 || len(after) != len(kubelet) {
		t.Errorf("the units' processes were %v and are %v: they read certificates again by themselves", kubelet, after)
	}
}

// files are a certificate and its key, PEM.
type files struct{ certificate, key []byte }

// expired is a certificate like leaf that expired yesterday, as the authority would have signed it a month ago.
func expired(t *testing.T, authority *pki.Authority, leaf clusters.Leaf) files {
	t.Helper()
	usages := []string{pki.Client}
	names := leaf.DNSNames
	for _, address := range leaf.IPAddresses {
		names = append(names, address.String())
	}
	if len(names) > 0 {
		usages = []string{pki.Server}
	}
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pki.Issue(authority, pki.Spec{
		CommonName: leaf.Subject.CommonName, Organizations: leaf.Subject.Organization, Names: names, Usages: usages, Life: 30 * day,
	}, key.Public(), time.Now().Add(-31*day))
	if err != nil {
		t.Fatal(err)
	}
	return files{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}), keyPEM(t, key)}
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	text, err := (&pki.Authority{Key: key}).KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
