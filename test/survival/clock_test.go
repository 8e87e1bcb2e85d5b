package survival

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
)

// clocks is a shape whose nodes to come have their clocks off.
func clocks(t *testing.T, masters int) (shape Shape, off func(time.Duration)) {
	if runtime.GOARCH != "amd64" {
		t.Skip("skipped: testdata/clock moves the clock of amd64 only")
	}
	var offset atomic.Int64 // seconds
	return Shape{Masters: masters, Clock: true, Bake: func(_ *Cluster, root string) error {
		return os.WriteFile(filepath.Join(root, "etc/clock-offset"), fmt.Append(nil, offset.Load()), 0o644)
	}}, func(by time.Duration) { offset.Store(int64(by.Seconds())) }
}

// A node whose clock is off by an hour, while those of the others, of S3 and of EC2 are right, becomes no member and forks nothing.
func TestClockOffByAnHour(t *testing.T) {
	shape, off := clocks(t, 3)
	survive(t, shape, func(ctx context.Context, c *Cluster) {
		client := c.Client(c.Ready(ctx, 3)...)
		c.Whole(ctx, client, 3)
		written := c.Write(ctx, client, "before", 20)
		replace := func(by time.Duration) (wrong *node.Node) {
			before := c.Masters()
			off(by)
			c.End(before[0])
			wrong = c.launched(ctx, before)
			off(0)
			return wrong
		}
		// undo has a node that is right take the place of one that is not, which has to have left everything as it was.
		undo := func(t *testing.T, wrong *node.Node) {
			c.wroteNothing(t, wrong.ID)
			before := c.Masters()
			right := slices.DeleteFunc(slices.Clone(before), func(n *node.Node) bool { return n == wrong })
			c.Write(ctx, c.Client(right...), "meanwhile", 10)
			c.End(wrong)
			c.New(ctx, before)
			client := c.Client(c.Masters()...)
			c.Whole(ctx, client, 3)
			c.Read(ctx, client).Holds(t, written)
			c.Generation(1)
		}
		c.Step("behind", func(t *testing.T) {
			wrong := replace(-time.Hour)
			c.refused(ctx, wrong, status.StateFailed, "check the node's clock")
			undo(t, wrong)
		})
		c.Step("ahead", func(t *testing.T) {
			wrong := replace(time.Hour)
			c.Says(ctx, wrong, "that nobody takes its certificate", func(_ *status.Status, e *status.Etcd) bool {
				return e.Row == "wait quorum" && strings.Contains(e.Why, "tls: expired certificate")
			})
			c.looksAgain(ctx, wrong, 5)
			undo(t, wrong)
		})
	})
}

// A master whose clock is an hour ahead restores, and what it stored is restored by others: backups of the future are not passed
// over, and do not come before those of newer generations.
func TestClockAheadAndBack(t *testing.T) {
	shape, off := clocks(t, 1)
	survive(t, shape, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 1)
		c.Write(ctx, c.Client(nodes...), "before", 20)
		before := c.Read(ctx, c.Client(nodes...))
		for i, ahead := range []time.Duration{time.Hour, 0, 0} {
			c.Stored(ctx, before.Revision)
			off(ahead)
			c.End(nodes...)
			nodes = c.Ready(ctx, 1)
			client := c.clientAs(nodes[0], keyspace.Operator, nodes, func() time.Time { return time.Now().Add(ahead) })
			c.Restored(ctx, client, 2+i, before)
			c.Write(ctx, client, fmt.Sprint("generation-", 2+i), 10)
			before = c.Read(ctx, client)
			c.Stored(ctx, before.Revision)
			if taken := c.backups(ctx)[0].Taken; time.Until(taken) > ahead || time.Until(taken) < ahead-30*time.Minute {
				t.Errorf("generation %d has a backup of %v, by a clock that is ahead by %v", 2+i, taken, ahead)
			}
		}
	})
}
