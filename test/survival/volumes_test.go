package survival

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// detach ends masters whose volumes stay. Nobody replaces them before resume is called.
func (c *Cluster) detach(nodes ...*node.Node) (volumes []*region.Volume, resume func()) {
	c.t.Helper()
	c.Cloud.Suspend(c.group(), "Launch")
	volumes, err := c.TerminateAll(ids(nodes), "main")
	if err != nil {
		c.t.Fatal(err)
	}
	return volumes, func() { c.Cloud.Resume(c.group(), "Launch") }
}

func (c *Cluster) attach(volumes ...*region.Volume) {
	c.t.Helper()
	for _, v := range volumes {
		if err := c.AttachNext(v, c.group()); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Masters are replaced by others that have their volumes.
func TestVolumesReturn(t *testing.T) {
	survive(t, Shape{Masters: 3, Long: true}, func(ctx context.Context, c *Cluster) {
		c.Ready(ctx, 3)
		c.Step("of one", func(t *testing.T) { c.volumeOfOne(ctx, t) })
		c.Step("of all", func(t *testing.T) { c.volumesOfAll(ctx, t) })
		c.Step("of a generation that is over", func(t *testing.T) { c.oldVolume(ctx, t) })
	})
}

// volumeOfOne: the same member, under its old name.
func (c *Cluster) volumeOfOne(ctx context.Context, t *testing.T) {
	nodes := c.Masters()
	client := c.Client(nodes...)
	members := c.Whole(ctx, client, 3)
	written := c.Write(ctx, client, "before", 20)
	name := c.Lineage().Members[slices.IndexFunc(c.Lineage().Members, onInstance(nodes[1].ID))].Name
	volumes, resume := c.detach(nodes[1])
	client = c.Client(nodes[0], nodes[2])
	more := c.Write(ctx, client, "without", 20)
	c.attach(volumes...)
	resume()
	fresh := c.New(ctx, nodes)
	client = c.Client(fresh)
	if now := c.Whole(ctx, client, 3); common(now, members) != 3 {
		t.Errorf("members %v, were %v", now, members)
	}
	at := slices.IndexFunc(c.Lineage().Members, onInstance(fresh.ID))
	if at < 0 || c.Lineage().Members[at].Name != name {
		t.Errorf("%+v: want %s on %s", c.Lineage().Members, name, fresh.ID)
	}
	c.Read(ctx, client).Holds(t, written, more)
	c.Generation(1)
	t.Logf("measured: member %s moved from %s to %s, the ids of all three stayed", name, nodes[1].ID, fresh.ID)
}

// volumesOfAll: nothing is restored, and nothing is lost that was acknowledged.
func (c *Cluster) volumesOfAll(ctx context.Context, t *testing.T) {
	nodes := c.Ready(ctx, 3)
	members := c.Whole(ctx, c.Client(nodes...), 3)
	w := c.NewWriter(ctx, "load")
	w.More(ctx, 200)
	volumes, resume := c.detach(nodes...)
	w.Stop()
	c.attach(volumes...)
	resume()
	client := c.Client(c.Ready(ctx, 3)...)
	if now := c.Whole(ctx, client, 3); common(now, members) != 3 {
		t.Errorf("members %v, were %v", now, members)
	}
	acked := w.Acked()
	if n := w.Survived(t, c.Read(ctx, client)); n != len(acked) {
		t.Errorf("of %d acknowledged writes the first %d are there", len(acked), n)
	}
	c.Generation(1)
	t.Logf("measured: %d writes acknowledged until the power went, none lost, generation 1", len(acked))
}

// oldVolume: it is set aside, and its node joins as a new member.
func (c *Cluster) oldVolume(ctx context.Context, t *testing.T) {
	nodes := c.Ready(ctx, 3)
	before := c.Read(ctx, c.Client(nodes...))
	c.Stored(ctx, before.Revision)
	old, resume := c.detach(nodes...)
	resume()
	nodes = c.Ready(ctx, 3)
	client := c.Client(nodes...)
	c.Restored(ctx, client, 2, before)
	members := c.Whole(ctx, client, 3)

	victim := slices.IndexFunc(nodes, func(n *node.Node) bool { return c.Cloud.Instance(n.ID).Zone == old[0].Zone })
	_, resume = c.detach(nodes[victim])
	c.attach(old[0])
	resume()
	fresh := c.New(ctx, nodes)
	client = c.Client(fresh)
	if now := c.Whole(ctx, client, 3); common(now, members) != 2 {
		t.Errorf("members %v, were %v", now, members)
	}
	c.Read(ctx, client).Holds(t, before.Keys)
	c.Generation(2)
	aside, err := filepath.Glob(fresh.Path("/var/lib/etcd/main/aside-*/*/member"))
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside: %v, %v", aside, err)
	}
	t.Logf("measured: generation 1's data lies in %s", filepath.Base(filepath.Dir(filepath.Dir(aside[0]))))
}
