package survival

import (
	"context"
	"fmt"
	"net/http"
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

// Where nobody can say whether a cluster has lived, none is created: not by listings of the etcd's place that are refused, and
// not by those of its older versions.
func TestListingDenied(t *testing.T) {
	var denied []*s3.ActiveFault
	shape := Shape{Masters: 3, Before: func(c *Cluster) {
		for _, query := range []string{"versions", "list-type=2"} {
			denied = append(denied, c.S3.Faults().Add(s3.Fault{Method: http.MethodGet, Path: "/" + bucket + "*", Query: query, Do: s3.Deny}))
		}
	}}
	survive(t, shape, func(ctx context.Context, c *Cluster) {
		nodes, err := c.AwaitMembers(ctx, c.group(), 3)
		if err != nil {
			t.Fatal(err)
		}
		// A master asks before it makes authorities, too, and stops there.
		for _, n := range nodes {
			c.refused(ctx, n, status.StateFailed, "allow s3:ListBucket to the instance's role")
		}
		denied[1].Remove()
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
		for _, q := range c.S3.Requests() {
			if q.Method == http.MethodPut && strings.HasPrefix(q.Path, "/"+bucket+"/"+prefix+"/etcd/") {
				t.Errorf("%s %s", q.Method, q.Path)
			}
		}
		denied[0].Remove()
		client := c.Client(c.Ready(ctx, 3)...)
		c.Whole(ctx, client, 3)
		c.Generation(1)
		t.Logf("measured: %d listings refused, nothing created; then 3 masters of generation 1", c.asked())
	})
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

// Masters whose store answers 403 run on, and say so.
func TestStoreDeniedToRunning(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		written := c.Write(ctx, client, "before", 10)
		c.Whole(ctx, client, 3)
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
	})
}

// The record is deleted while backups exist: who comes new stops for the operator, who runs goes on.
func TestLineageDeleted(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		written := c.Write(ctx, client, "before", 10)
		c.Stored(ctx, c.Read(ctx, client).Revision)
		if err := c.EmptyStore(ctx, store, etcd.Key("main")); err != nil {
			t.Fatal(err)
		}
		c.End(nodes[0])
		fresh, err := c.AwaitMembers(ctx, c.group(), 1, ids(nodes)...)
		if err != nil {
			t.Fatal(err)
		}
		s := c.Says(ctx, fresh[0], "that it is blocked", func(s *status.Status, e *status.Etcd) bool {
			return s.State == status.StateFailed && e.Row == "adopt"
		})
		if s.Reason != status.ReasonEtcdBlocked || !strings.Contains(s.Hint, "rekindle etcd adopt") {
			t.Errorf("%s: %s (%s)", s.Reason, s.Message, s.Hint)
		}
		for _, n := range nodes[1:] {
			c.Says(ctx, n, "that it runs on", row("run without record"))
		}
		client = c.Client(nodes[1:]...)
		more := c.Write(ctx, client, "after", 10)
		c.Read(ctx, client).Holds(t, written, more)
		if _, err := c.ReadStore(ctx, store, etcd.Key("main")); err == nil {
			t.Error("somebody wrote a record")
		}
	})
}

// Two of three masters do not answer, and EC2 says that they run. The third one's member knows no leader and does nothing; it
// is terminated, and its replacement restores and rescues nothing. Once the two answer, all goes on as before.
func TestOnlyUnreachable(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		written := c.Write(ctx, client, "before", 20)
		before := c.Read(ctx, client)
		c.Whole(ctx, client, 3)
		c.Stored(ctx, before.Revision)
		frozen, left := nodes[:2], nodes[2]
		running := left.Processes()
		for _, n := range frozen {
			if err := n.Pause(); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		c.Await(ctx, "a member would have been leaderless long enough", func() error {
			return atLeast(int(time.Since(start)), int(withoutQuorum+10*time.Second))
		})
		if now := left.Processes(); !slices.Equal(now, running) {
			t.Errorf("the one that is left: processes %v, were %v", now, running)
		}
		c.End(left)
		fresh, err := c.AwaitMembers(ctx, c.group(), 1, ids(nodes)...)
		if err != nil {
			t.Fatal(err)
		}
		s := c.Says(ctx, fresh[0], "what it waits for", row("wait quorum"))
		for _, n := range frozen {
			if !strings.Contains(s.Etcd[0].Why, n.ID) {
				t.Errorf("%q does not name %s", s.Etcd[0].Why, n.ID)
			}
		}
		c.looksAgain(ctx, fresh[0], 5)
		c.Generation(1)
		for _, n := range frozen {
			if err := n.Resume(); err != nil {
				t.Fatal(err)
			}
		}
		c.Ready(ctx, 3)
		client = c.Client(c.Masters()...)
		c.Whole(ctx, client, 3)
		c.Read(ctx, client).Holds(t, written)
		c.Generation(1)
		t.Logf("measured: two frozen for %v, no new generation", time.Since(start).Round(time.Second))
	})
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
