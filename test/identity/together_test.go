package identity

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/pki"
	"rekindle/test/identity/clusters"
	"rekindle/test/lab/node"
	"rekindle/test/s3"
)

// TestTwoMastersBootAtOnce: of two masters that find an empty store at the same moment, both have the same authorities.
// Their etcd is elsewhere.
func TestTwoMastersBootAtOnce(t *testing.T) {
	t.Parallel()
	c := cluster(t, "together")
	defer meet(c)()
	spec := c.Spec("master")
	spec.UserData = append(spec.UserData, "etcd: {endpoints: [https://etcd.internal:2379]}\n"...)
	masters := []*node.Node{c.Launch(t, spec), c.Launch(t, spec)}
	for _, n := range masters {
		clusters.Ready(t.Context(), t, n)
		leaves, err := clusters.Leaves(n)
		if err != nil || len(leaves) != masterLeaves-2 { // all but those of a member
			t.Errorf("%s has %d certificates: %v", n.ID, len(leaves), err)
		}
		if err := clusters.Sound(n, true); err != nil {
			t.Errorf("%s: %v", n.ID, err)
		}
	}
	sameAuthorities(t, c, masters)
	writtenOnce(t, c)
}

// TestTwoMastersWithEtcdBootAtOnce: with members of their own both become ready, of one cluster. Neither makes an authority that
// the other does not have.
func TestTwoMastersWithEtcdBootAtOnce(t *testing.T) {
	t.Parallel()
	c := cluster(t, "etcd-together")
	defer meet(c)()
	masters := []*node.Node{c.Launch(t, c.Spec("master")), c.Launch(t, c.Spec("master"))}
	for _, n := range masters {
		clusters.Ready(t.Context(), t, n)
		leaves, err := clusters.Leaves(n)
		if err != nil || len(leaves) != masterLeaves {
			t.Errorf("%s has %d certificates: %v", n.ID, len(leaves), err)
		}
		if err := clusters.Sound(n, true); err != nil {
			t.Errorf("%s: %v", n.ID, err)
		}
	}
	sameAuthorities(t, c, masters)
	var record etcd.Lineage
	if err := json.Unmarshal(c.Object(t.Context(), t, etcd.Key("main")), &record); err != nil {
		t.Fatal(err)
	}
	if record.Generation != 1 || record.State != etcd.Running || len(record.Members) != len(masters) {
		t.Errorf("lineage %+v", record)
	}
	for _, n := range masters {
		put(t.Context(), t, c, n, "before any")
	}
	writtenOnce(t, c)
}

// sameAuthorities wants every master to hold what the store has.
func sameAuthorities(t *testing.T, c *clusters.Cluster, masters []*node.Node) {
	t.Helper()
	for _, name := range pki.Names {
		stored := c.Authority(t.Context(), t, name)
		for _, n := range masters {
			held, err := clusters.Held(n, name)
			if err != nil {
				t.Error(err)
				continue
			}
			if held.Fingerprint() != stored.Fingerprint() || len(held.Certificates)+len(held.Keys) != 1 {
				t.Errorf("%s holds %s as %s, and the store has %s", n.ID, held.Fingerprint(), name, stored.Fingerprint())
			}
		}
	}
}

// meet has the store take its time over every record, so that both masters have found none when they write theirs.
func meet(c *clusters.Cluster) (end func()) {
	fault := c.S3.Faults().Add(s3.Fault{Method: http.MethodPut, Path: c.Path("pki/private/*"), Do: s3.Latency(time.Second)})
	return fault.Remove
}

// writtenOnce wants one write of each record, whoever's, and the other one refused.
func writtenOnce(t *testing.T, c *clusters.Cluster) {
	t.Helper()
	written, refused := map[string]int{}, map[string]int{}
	for _, q := range c.S3.Requests() {
		if q.Method != http.MethodPut {
			continue
		}
		switch q.Status {
		case http.StatusOK:
			written[q.Path]++
		case http.StatusPreconditionFailed, http.StatusConflict:
			refused[q.Path]++
		}
	}
	for _, name := range pki.Names {
		path := c.Path(pki.PrivateKey(name))
		if written[path] != 1 || refused[path] == 0 {
			t.Errorf("authority %s was written %d times, and refused %d times", name, written[path], refused[path])
		}
	}
}
