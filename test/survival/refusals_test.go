package survival

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/status"
	"rekindle/test/lab/node"
	"rekindle/test/s3"
)

// A store that answers 403. Where nobody can say whether a cluster has lived, none is created; masters that run go on.
func TestStoreDenied(t *testing.T) {
	var denied []*s3.ActiveFault
	shape := Shape{Masters: 3, Before: func(c *Cluster) {
		for _, query := range []string{"versions", "list-type=2"} {
			denied = append(denied, c.S3.Faults().Add(s3.Fault{Method: http.MethodGet, Path: "/" + bucket + "*", Query: query, Do: s3.Deny}))
		}
	}}
	survive(t, shape, func(ctx context.Context, c *Cluster) {
		c.Step("listings", func(t *testing.T) { c.listingsDenied(ctx, t, denied[0], denied[1]) })
		c.Step("everything", func(t *testing.T) { c.runningDenied(ctx, t) })
	})
}

// listingsDenied ends the two refusals, one after the other: of listings of older versions, and of those of what is there.
func (c *Cluster) listingsDenied(ctx context.Context, t *testing.T, versions, present *s3.ActiveFault) {
	nodes, err := c.AwaitMembers(ctx, c.group(), 3)
	if err != nil {
		t.Fatal(err)
	}
	// A master asks before it makes authorities, too, and stops there.
	for _, n := range nodes {
		c.refused(ctx, n, status.StateFailed, "allow s3:ListBucket to the instance's role")
	}
	present.Remove()
	for _, n := range nodes {
		if err := n.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		s := c.Says(ctx, n, "that it cannot know", func(s *status.Status, e *status.Etcd) bool {
			return e.Row == "unknown trace" && slices.ContainsFunc(s.Waits, func(p status.Pending) bool {
				return p.Name == "etcd main" && strings.Contains(p.For, "s3:ListBucketVersions")
			})
		})
		if s.Etcd[0].Lineage != nil || s.Etcd[0].Data != string(datadir.Empty) {
			t.Errorf("%s: %+v", n.ID, s.Etcd[0])
		}
	}
	asked := c.asked()
	c.Await(ctx, "they ask again", func() error { return atLeast(c.asked(), asked+9) })
	c.wroteNothing(t, "")
	versions.Remove()
	client := c.Client(c.Ready(ctx, 3)...)
	c.Whole(ctx, client, 3)
	c.Generation(1)
	t.Logf("measured: %d listings refused, nothing created; then 3 masters of generation 1", c.asked())
}

// wroteNothing fails if an instance, or with "" anybody, has written, or tried to write, what the store has of etcd.
func (c *Cluster) wroteNothing(t *testing.T, instance string) {
	t.Helper()
	own := ""
	if instance != "" {
		own = c.Cloud.Credentials(instance).AccessKeyID
	}
	asked := false
	for _, q := range c.S3.Requests() {
		if own != "" && q.AccessKeyID != own {
			continue
		}
		asked = true
		if q.Method != http.MethodGet && q.Method != http.MethodHead && strings.HasPrefix(q.Path, "/"+bucket+"/"+prefix+"/etcd/") {
			t.Errorf("%s %s", q.Method, q.Path)
		}
	}
	if !asked {
		t.Errorf("the store has heard nothing of %q", instance)
	}
}

// refused waits until an agent says that it failed, or waits, and what the remedy is.
func (c *Cluster) refused(ctx context.Context, n *node.Node, state status.State, hint string) {
	c.t.Helper()
	c.Await(ctx, n.ID+" says "+hint, func() error {
		s, err := n.Status()
		if err == nil && (s.State != state || !strings.Contains(s.Hint, hint)) {
			err = fmt.Errorf("%s: %s (%s)", s.State, s.Message, s.Hint)
		}
		return err
	})
}

// asked is how many listings were refused.
func (c *Cluster) asked() int {
	n := 0
	for _, q := range c.S3.Requests() {
		if q.Fault == "deny" {
			n++
		}
	}
	return n
}

// runningDenied has the store answer all masters with 403 while they run.
func (c *Cluster) runningDenied(ctx context.Context, t *testing.T) {
	nodes := c.Ready(ctx, 3)
	client := c.Client(nodes...)
	written := c.Write(ctx, client, "before", 10)
	running := map[string][]int{}
	for _, n := range nodes {
		running[n.ID] = n.Processes()
		c.DenyStore(n.ID, true)
	}
	for _, n := range nodes {
		c.Says(ctx, n, "that the record is unknown", row("start unknown"))
	}
	more := c.Write(ctx, client, "denied", 10)
	for _, n := range nodes {
		c.DenyStore(n.ID, false)
		c.Says(ctx, n, "that etcd runs", row("running"))
		if !slices.Equal(running[n.ID], n.Processes()) {
			t.Errorf("%s: processes %v, were %v", n.ID, n.Processes(), running[n.ID])
		}
	}
	c.Read(ctx, client).Holds(t, written, more)
	c.Generation(1)
}

// The record is deleted while backups exist: who runs goes on, who comes new stops for the operator and writes nothing. Once the
// operator has said that the backups are the cluster's, they are restored.
func TestLineageDeleted(t *testing.T) {
	survive(t, Shape{Masters: 1}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 1)
		client := c.Client(nodes...)
		written := c.Write(ctx, client, "before", 10)
		before := c.Read(ctx, client)
		c.Stored(ctx, before.Revision)
		if err := c.EmptyStore(ctx, store, etcd.Key("main")); err != nil {
			t.Fatal(err)
		}
		c.Says(ctx, nodes[0], "that it runs on", row("run without record"))
		more := c.Write(ctx, client, "after", 10)
		c.Read(ctx, client).Holds(t, written, more)
		c.End(nodes...)
		fresh := c.launched(ctx, nodes)
		s := c.Says(ctx, fresh, "that it is blocked", func(s *status.Status, e *status.Etcd) bool {
			return s.State == status.StateFailed && e.Row == "adopt"
		})
		if s.Reason != status.ReasonEtcdBlocked || !strings.Contains(s.Hint, "rekindle etcd adopt") {
			t.Errorf("%s: %s (%s)", s.Reason, s.Message, s.Hint)
		}
		c.wroteNothing(t, fresh.ID)
		if _, err := c.ReadStore(ctx, store, etcd.Key("main")); err == nil {
			t.Error("somebody wrote a record")
		}
		adopt := exec.CommandContext(ctx, fresh.Binary, "etcd", "adopt", "--root", fresh.Root, "--yes")
		adopt.Env = fresh.Env
		if out, err := adopt.CombinedOutput(); err != nil {
			t.Fatalf("rekindle etcd adopt: %v\n%s", err, out)
		}
		c.Converge(ctx, 1)
		client = c.Client(fresh)
		c.Read(ctx, client).Holds(t, before.Keys)
		c.Generation(2)
	})
}

// leaderless is longer than a member must know no leader before its agent does something about it (agent/etcd).
const leaderless = 40 * time.Second

// unreachable has masters not answer, while EC2 says that they run. The last one's member knows no leader and does nothing; it is
// terminated, and its replacement restores and rescues nothing. Once the others answer, all goes on as before.
func (c *Cluster) unreachable(ctx context.Context, t *testing.T, frozen []*node.Node, left *node.Node) {
	nodes := c.Masters()
	running := left.Processes()
	for _, n := range frozen {
		if err := n.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	c.Await(ctx, "a member would have been leaderless long enough", func() error {
		return atLeast(int(time.Since(start)), int(leaderless))
	})
	if now := left.Processes(); len(running) == 0 || !slices.Equal(now, running) {
		t.Errorf("the one that is left: processes %v, were %v", now, running)
	}
	c.End(left)
	fresh := c.launched(ctx, nodes)
	s := c.Says(ctx, fresh, "what it waits for", row("wait quorum"))
	for _, n := range frozen {
		if !strings.Contains(s.Etcd[0].Why, n.ID) {
			t.Errorf("%q does not name %s", s.Etcd[0].Why, n.ID)
		}
	}
	c.looksAgain(ctx, fresh, 5)
	c.wroteNothing(t, fresh.ID)
	c.Generation(1)
	for _, n := range frozen {
		if err := n.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	c.Ready(ctx, 3)
	c.Whole(ctx, c.Client(c.Masters()...), 3)
	c.Generation(1)
	t.Logf("measured: two frozen for %v, no new generation", time.Since(start).Round(time.Second))
}

// looksAgain waits until a node has asked for the record n times more.
func (c *Cluster) looksAgain(ctx context.Context, n *node.Node, times int) {
	c.t.Helper()
	own := c.Cloud.Credentials(n.ID).AccessKeyID
	count := func() (asked int) {
		for _, q := range c.S3.Requests() {
			if q.AccessKeyID == own && strings.HasSuffix(q.Path, "/"+etcd.Key("main")) {
				asked++
			}
		}
		return asked
	}
	until := count() + times
	c.Await(ctx, n.ID+" looks again", func() error { return atLeast(count(), until) })
}
