package survival

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// keep ends masters whose volumes stay. Nobody replaces them before resume is called.
func (c *Cluster) keep(nodes ...*node.Node) (volumes []*region.Volume, resume func()) {
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

func idsOf(members []*etcdserverpb.Member) []uint64 {
	var all []uint64
	for _, m := range members {
		all = append(all, m.ID)
	}
	return slices.Sorted(slices.Values(all))
}

// A master is replaced by one that has its volume: the same member, under its old name.
func TestVolumeOfOneReturns(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		members := c.Whole(ctx, client, 3)
		written := c.Write(ctx, client, "before", 20)
		name := c.Lineage().Members[slices.IndexFunc(c.Lineage().Members, onInstance(nodes[1].ID))].Name
		volumes, resume := c.keep(nodes[1])
		client = c.Client(nodes[0], nodes[2])
		more := c.Write(ctx, client, "without", 20)
		c.attach(volumes...)
		resume()
		fresh := c.New(ctx, nodes)
		client = c.Client(fresh)
		now := c.Whole(ctx, client, 3)
		if !slices.Equal(idsOf(now), idsOf(members)) {
			t.Errorf("members %v, were %v", now, members)
		}
		at := slices.IndexFunc(c.Lineage().Members, onInstance(fresh.ID))
		if at < 0 || c.Lineage().Members[at].Name != name {
			t.Errorf("%+v: want %s on %s", c.Lineage().Members, name, fresh.ID)
		}
		c.Read(ctx, client).Holds(t, written, more)
		c.Generation(1)
		t.Logf("measured: member %s moved from %s to %s, the ids of all three stayed", name, nodes[1].ID, fresh.ID)
	})
}

// All masters are replaced, and all volumes return: nothing is restored, and nothing is lost that was acknowledged.
func TestVolumesOfAllReturn(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		members := c.Whole(ctx, client, 3)
		w := c.NewWriter(ctx, "load")
		w.More(ctx, 200)
		volumes, resume := c.keep(nodes...)
		w.Stop()
		c.attach(volumes...)
		resume()
		client = c.Client(c.Ready(ctx, 3)...)
		now := c.Whole(ctx, client, 3)
		if !slices.Equal(idsOf(now), idsOf(members)) {
			t.Errorf("members %v, were %v", now, members)
		}
		acked := w.Acked()
		if n := w.Survived(t, c.Read(ctx, client)); n != len(acked) {
			t.Errorf("of %d acknowledged writes the first %d are there", len(acked), n)
		}
		c.Generation(1)
		t.Logf("measured: %d writes acknowledged until the power went, none lost, generation 1", len(acked))
	})
}

// The volume of a generation that is over returns: it is set aside, and its node joins as a new member.
func TestOldVolumeReturns(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		c.Whole(ctx, client, 3)
		c.Write(ctx, client, "before", 20)
		before := c.Read(ctx, client)
		c.Stored(ctx, before.Revision)
		old, resume := c.keep(nodes...)
		resume()
		nodes = c.Ready(ctx, 3)
		client = c.Client(nodes...)
		c.Restored(ctx, client, 2, before)
		c.Whole(ctx, client, 3)

		victim := slices.IndexFunc(nodes, func(n *node.Node) bool { return c.Cloud.Instance(n.ID).Zone == old[0].Zone })
		_, resume = c.keep(nodes[victim])
		c.attach(old[0])
		resume()
		fresh := c.New(ctx, nodes)
		client = c.Client(fresh)
		c.Whole(ctx, client, 3)
		c.Read(ctx, client).Holds(t, before.Keys)
		c.Generation(2)
		aside, err := filepath.Glob(fresh.Path("/var/lib/etcd/main/aside-*/*/member"))
		if err != nil || len(aside) != 1 {
			t.Errorf("set aside: %v, %v", aside, err)
		}
		t.Logf("measured: generation 1's data lies in %s", filepath.Base(filepath.Dir(filepath.Dir(aside[0]))))
	})
}
