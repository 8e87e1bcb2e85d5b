// Package rotation replaces the authorities of a cluster that lives, with the real agent on a laboratory's nodes. It is
// apart from package identity so that nothing else is in its region, of which all nodes are asked who they are.
package rotation

import (
	"context"
	"os"
	"testing"
	"time"

	"rekindle/agent/pki"
	"rekindle/test/identity/clusters"
	"rekindle/test/lab/node"
	"rekindle/test/lab/verify"
)

// rotation is a cluster whose authorities are being replaced.
type rotation struct {
	*clusters.Cluster
	suite   *verify.Suite
	master  *node.Node
	minions []*node.Node
}

// TestRotation: from the first step to the last every node stands for itself with every API server, and whoever is
// launched meanwhile joins.
func TestRotation(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and boots nodes")
	}
	r := start(t)
	ctx := t.Context()
	r.well(ctx, t, map[string]int{pki.Kubernetes: 1, pki.FrontProxy: 1})

	t.Run("front-proxy", func(t *testing.T) { // which all that know it read again by themselves
		for _, step := range [][]string{{"begin"}, {"promote", "--force"}, {"finish", "--force"}} {
			r.step(ctx, t, pki.FrontProxy, step, nil, nil)
		}
	})
	t.Run("kubernetes", func(t *testing.T) {
		pods := []string{"kube-controller-manager", "kube-scheduler", "kube-proxy"}
		r.step(ctx, t, pki.Kubernetes, []string{"begin"}, pods, r.launch)
		r.step(ctx, t, pki.Kubernetes, []string{"promote", "--force"}, pods, r.launch)
		r.step(ctx, t, pki.Kubernetes, []string{"finish", "--force"}, pods, nil)
	})
}

// start boots a master and two minions.
func start(t *testing.T) *rotation {
	t.Helper()
	region, err := clusters.Start(t.Context(), t.TempDir(), os.Getenv("REKINDLE_BINARY"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := region.Close(); err != nil {
			t.Error(err)
		}
		if err := region.Err(); err != nil {
			t.Error(err)
		}
	})
	c := region.Cluster(t.Context(), t, "rotation")
	r := &rotation{Cluster: c, suite: &verify.Suite{Region: region.Region, Binary: region.Programs.Rekindle, Store: c.Store}}
	r.master = c.Launch(t, c.Spec("master"))
	r.launch(t)
	r.launch(t)
	for _, n := range r.nodes() {
		clusters.Ready(t.Context(), t, n)
	}
	return r
}

// launch launches one more minion, and does not wait for it.
func (r *rotation) launch(t *testing.T) {
	t.Helper()
	r.minions = append(r.minions, r.Launch(t, r.Spec("minion")))
}

func (r *rotation) nodes() []*node.Node { return append([]*node.Node{r.master}, r.minions...) }

// step takes one step of a rotation and has all nodes follow it. Meanwhile is done when the store is changed and no node
// knows of it yet. Pods are those that are told to start again on the master; no unit is.
func (r *rotation) step(ctx context.Context, t *testing.T, authority string, step, pods []string, meanwhile func(*testing.T)) {
	t.Helper()
	seen := map[*node.Node]*clusters.Seen{}
	for _, n := range r.nodes() {
		seen[n] = clusters.See(t, n)
	}
	said := r.PKI(ctx, t, append([]string{"rotate", r.Store, step[0], authority}, step[1:]...)...)
	if meanwhile != nil {
		meanwhile(t)
	}
	generations := map[string]int{authority: 2}
	if step[0] == "finish" {
		generations[authority] = 1
	}
	began := time.Now()
	awaitMaster := clusters.Ask(ctx, t, r.master)
	clusters.Resync(ctx, t, r.minions...)
	clusters.Await(ctx, t, "the master's files", func() error { return r.Trusting(ctx, t, r.master, generations) })
	clusters.Resync(ctx, t, r.minions...) // they may have asked before the master was as far
	placed := time.Since(began)
	if len(pods) > 0 {
		r.well(ctx, t, generations) // while what the master restarts is still at it
	}
	awaitMaster()
	t.Logf("%s: the files are in place after %s, and the master is done after %s: %s", step[0], placed.Round(time.Millisecond),
		time.Since(began).Round(time.Millisecond), said)

	r.well(ctx, t, generations)
	for n, before := range seen {
		mine := pods
		if n != r.master && len(pods) > 0 {
			mine = []string{"kube-proxy"}
		}
		before.Restarted(t, n, mine, nil)
	}
	if len(pods) > 0 {
		r.TurnIsFree(ctx, t)
	}
}

// well wants all nodes to be who they should be, by certificates of the authority that signs now.
func (r *rotation) well(ctx context.Context, t *testing.T, generations map[string]int) {
	t.Helper()
	for _, n := range r.nodes() {
		if err := r.Trusting(ctx, t, n, generations); err != nil {
			t.Error(err)
		}
		if err := clusters.Sound(n, true); err != nil {
			t.Errorf("%s: %v", n.ID, err)
		}
	}
	if err := r.suite.Only(ctx, "ready", "identity", "kubelets"); err != nil {
		t.Error(err)
	}
}
