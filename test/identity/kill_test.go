package identity

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"rekindle/agent/pki"
	"rekindle/test/identity/clusters"
	"rekindle/test/lab/node"
	"rekindle/test/s3"
)

// point is a moment of a master's first boot at which its agent is killed.
type point struct {
	name string
	// fault is done to the cluster's store from the beginning; the kill comes with its first hit.
	fault s3.Fault
	// path is a file that ends the wait when it is there, or its temporary one.
	path string
	// share is of the time that an undisturbed boot takes.
	share float64
}

// slow is how long the store takes for a write that it still does when who asked for it is gone.
const slow = 300 * time.Millisecond

var points = []point{
	{name: "10 percent", share: .1},
	{name: "30 percent", share: .3},
	{name: "50 percent", share: .5},
	{name: "70 percent", share: .7},
	{name: "90 percent", share: .9},
	{name: "the first record under way", fault: s3.Fault{Path: pki.PrivateKey(pki.Kubernetes), Do: s3.Latency(slow)}},
	{name: "a record written, unheard", fault: s3.Fault{Path: pki.PrivateKey(pki.Etcd), Do: s3.Lost}},
	{name: "a record not written", fault: s3.Fault{Path: pki.PrivateKey(pki.ServiceAccount), Do: s3.Reset}},
	{name: "a public part under way", fault: s3.Fault{Path: pki.PublicKey(pki.FrontProxy), Do: s3.Latency(slow)}},
	{name: "the first key staged", path: "/etc/kubernetes/pki/ca.key"},
	{name: "the last key staged", path: "/etc/kubernetes/scheduler.conf"},
	{name: "the kubelet's configuration in place", path: "/var/lib/kubelet/config.yaml"},
}

// TestKilledMasterKeepsOneAuthority: wherever the first boot of a cluster's first master is cut, what an authority was
// once it stays, and the disk holds nothing half done.
func TestKilledMasterKeepsOneAuthority(t *testing.T) {
	t.Parallel()
	undisturbed := cluster(t, "undisturbed").Boot(t.Context(), t, "master")
	s, err := undisturbed.Status()
	if err != nil {
		t.Fatal(err)
	}
	length := s.Boot.Ready.Sub(undisturbed.Started())
	if err := undisturbed.Destroy(); err != nil {
		t.Fatal(err)
	}
	for i, p := range points {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			c := cluster(t, fmt.Sprintf("killed-%d", i))
			reached := p.arm(c)
			n := c.Launch(t, c.Spec("master"))
			p.await(t, n, length, reached)
			if err := n.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := clusters.Sound(n, false); err != nil {
				t.Errorf("killed: %v", err)
			}
			seen := records(t, c)
			t.Logf("killed %s after its start, with %d of %d records written", time.Since(n.Started()).Round(time.Millisecond), len(seen), len(pki.Names))
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			clusters.Ready(t.Context(), t, n)
			p.settled(t, c, n, seen)
			if err := n.Destroy(); err != nil { // others need the machine
				t.Fatal(err)
			}
		})
	}
}

// arm adds the point's fault; the result tells whether it was hit. It counts once: then the store works again.
func (p point) arm(c *clusters.Cluster) (reached func() bool) {
	if p.fault.Path == "" {
		return func() bool { return false }
	}
	p.fault.Method, p.fault.Path, p.fault.Count = http.MethodPut, c.Path(p.fault.Path), 1
	active := c.S3.Faults().Add(p.fault)
	return func() bool { return active.Hits() > 0 }
}

// await returns at the point.
func (p point) await(t *testing.T, n *node.Node, length time.Duration, reached func() bool) {
	t.Helper()
	deadline := time.NewTimer(clusters.Limit)
	defer deadline.Stop()
	timer := time.NewTimer(time.Until(n.Started().Add(time.Duration(p.share * float64(length)))))
	defer timer.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-timer.C:
			if p.share > 0 {
				return
			}
		case <-tick.C:
			if reached() || p.path != "" && there(n, p.path) {
				return
			}
		case <-deadline.C:
			t.Fatal("the boot never came to this point")
		}
	}
}

// there tells whether a file is in place, or waits under its temporary name to be.
func there(n *node.Node, path string) bool {
	dir, name := path[:strings.LastIndexByte(path, '/')+1], path[strings.LastIndexByte(path, '/')+1:]
	for _, path := range []string{path, dir + "." + name + ".rekindle"} {
		if _, err := os.Lstat(n.Path(path)); err == nil {
			return true
		}
	}
	return false
}

// settled wants one set of authorities, in the store and on the disk, and nothing left of the boot that was cut.
func (p point) settled(t *testing.T, c *clusters.Cluster, n *node.Node, seen map[string][]byte) {
	t.Helper()
	now := records(t, c)
	for _, name := range pki.Names {
		if was, ok := seen[name]; ok && !bytes.Equal(was, now[name]) {
			t.Errorf("authority %s was written again after the kill", name)
		}
		written := 0
		for _, q := range c.S3.Requests() {
			if q.Method == http.MethodPut && q.Path == c.Path(pki.PrivateKey(name)) && q.Status == http.StatusOK {
				written++
			}
		}
		if lost := p.fault.Path == pki.PrivateKey(name) && p.fault.Do == s3.Lost; lost && written != 0 || !lost && written != 1 {
			t.Errorf("authority %s was written %d times", name, written)
		}
		stored := c.Authority(t.Context(), t, name)
		held, err := clusters.Held(n, name)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(held.Certificates)+len(held.Keys) != 1 || held.Fingerprint() != stored.Fingerprint() {
			t.Errorf("authority %s is %s on the disk, and %s in the store", name, held.Fingerprint(), stored.Fingerprint())
		}
		if public := c.Object(t.Context(), t, pki.PublicKey(name)); !bytes.Equal(public, stored.CertificatePEM()) {
			t.Errorf("authority %s is published as\n%s", name, public)
		}
	}
	leaves, err := clusters.Leaves(n)
	if err != nil {
		t.Error(err)
	}
	for path, leaf := range leaves {
		signer := c.Authority(t.Context(), t, leaf.Authority)
		if err := leaf.CheckSignatureFrom(signer.Certificates[0]); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if len(leaves) != masterLeaves {
		t.Errorf("%d certificates: %v", len(leaves), leaves)
	}
	if err := clusters.Sound(n, true); err != nil {
		t.Error(err)
	}
}

// masterLeaves is how many certificates a master with a member of etcd has: ten of kubeadm's, the kubelet's two,
// kube-proxy's, and the join server's.
const masterLeaves = 14

// records are the authorities' records in the store, as they are now.
func records(t *testing.T, c *clusters.Cluster) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for _, name := range pki.Names {
		data, err := c.ReadStore(t.Context(), c.Store, pki.PrivateKey(name))
		switch {
		case err == nil:
			found[name] = data
		case !strings.Contains(err.Error(), "NoSuchKey"):
			t.Fatal(err)
		}
	}
	return found
}
