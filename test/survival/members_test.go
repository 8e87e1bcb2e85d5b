package survival

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rekindle/agent/etcd"
	"rekindle/test/lab/region"
)

func onInstance(id string) func(etcd.Member) bool {
	return func(m etcd.Member) bool { return m.Instance == id }
}

// The disk of a member comes back empty, on the same instance: another member takes its place.
func TestDiskComesBackEmpty(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		members := c.Whole(ctx, client, 3)
		written := c.Write(ctx, client, "before", 20)
		victim := nodes[0]
		if err := victim.Destroy(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(victim.Path("/var/lib/etcd/main")); err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := victim.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		client = c.Client(victim)
		now := c.Whole(ctx, client, 3)
		kept := slices.DeleteFunc(idsOf(now), func(id uint64) bool { return !slices.Contains(idsOf(members), id) })
		if len(kept) != 2 || !slices.ContainsFunc(c.Lineage().Members, onInstance(victim.ID)) {
			t.Errorf("members %v, were %v; lineage %+v", now, members, c.Lineage())
		}
		c.Read(ctx, client).Holds(t, written)
		c.Generation(1)
	})
}

// A learner dies in the middle of joining: whoever comes next removes it.
func TestLearnerDies(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		c.Whole(ctx, client, 3)
		written := c.Write(ctx, client, "before", 20)
		c.End(nodes[0])
		fresh, err := c.AwaitMembers(ctx, c.group(), 1, ids(nodes)...)
		if err != nil {
			t.Fatal(err)
		}
		c.Await(ctx, "the record has a learner", func() error {
			at := slices.IndexFunc(c.Lineage().Members, onInstance(fresh[0].ID))
			if at < 0 {
				return fmt.Errorf("%+v", c.Lineage())
			}
			return nil
		})
		if err := fresh[0].Destroy(); err != nil {
			t.Fatal(err)
		}
		cut := c.Lineage()
		c.End(fresh...)
		third := c.New(ctx, append(nodes, fresh...))
		client = c.Client(third)
		c.Whole(ctx, client, 3)
		if slices.ContainsFunc(c.Lineage().Members, onInstance(fresh[0].ID)) {
			t.Errorf("the learner that died is still listed: %+v", c.Lineage())
		}
		c.Read(ctx, client).Holds(t, written)
		c.Generation(1)
		t.Logf("measured: cut at %+v", *cut.Change)
	})
}

// Two of five masters die at once: three are a quorum.
func TestTwoOfFive(t *testing.T) {
	survive(t, Shape{Masters: 5}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 5)
		client := c.Client(nodes...)
		c.Whole(ctx, client, 5)
		written := c.Write(ctx, client, "before", 20)
		start := time.Now()
		c.End(nodes[1], nodes[3])
		client = c.Client(nodes[0], nodes[2], nodes[4])
		more := c.Write(ctx, client, "meanwhile", 20)
		client = c.Client(c.Ready(ctx, 5)...)
		c.Whole(ctx, client, 5)
		t.Logf("measured: five voters again after %v", time.Since(start).Round(100*time.Millisecond))
		c.Read(ctx, client).Holds(t, written, more)
		c.Generation(1)
	})
}

// Kubernetes' events have an etcd of their own, and it survives as well.
func TestBothClusters(t *testing.T) {
	survive(t, Shape{Masters: 1, Config: "etcd: {clusters: [main, events]}\n"}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 1)
		main, events := c.ClientOf("2379", nodes...), c.ClientOf(eventsPort, nodes...)
		inMain, inEvents := c.Write(ctx, main, "main", 20), c.Write(ctx, events, "events", 20)
		c.Stored(ctx, c.Read(ctx, main).Revision)
		c.storedOf(ctx, "events", c.Read(ctx, events).Revision)
		c.End(nodes...)
		nodes = c.Ready(ctx, 1)
		main, events = c.ClientOf("2379", nodes...), c.ClientOf(eventsPort, nodes...)
		a, b := c.Read(ctx, main), c.Read(ctx, events)
		a.Holds(t, inMain)
		b.Holds(t, inEvents)
		if len(a.Keys) != len(inMain) || len(b.Keys) != len(inEvents) {
			t.Errorf("main has %d keys of %d, events %d of %d", len(a.Keys), len(inMain), len(b.Keys), len(inEvents))
		}
		if m, e := c.Lineage(), c.LineageOf("events"); m.Generation != 2 || e.Generation != 2 || m.UID == e.UID {
			t.Errorf("%+v, %+v", m, e)
		}
	})
}

const eventsPort = "2381"

// etcd on three nodes of its own, with a master that uses it.
func TestEtcdOnNodesOfItsOwn(t *testing.T) {
	survive(t, Shape{Masters: 3, Role: "etcd"}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		c.Whole(ctx, client, 3)
		endpoints := strings.Join(c.endpoints(nodes, "2379"), ", ")
		if err := c.Group("master", region.MasterProfile, 1, c.UserData("etcd: {endpoints: ["+endpoints+"]}\n")); err != nil {
			t.Fatal(err)
		}
		masters, err := c.AwaitMembers(ctx, "master", 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := masters[0].Ready(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(masters[0].Path("/var/lib/etcd/main/data")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the master has a member of its own: %v", err)
		}
		client = c.asAPIServer(masters[0], nodes)
		written := c.Write(ctx, client, "before", 20)
		c.End(nodes[0])
		more := c.Write(ctx, client, "meanwhile", 20)
		fresh := c.New(ctx, nodes)
		c.Whole(ctx, client, 3)
		c.Read(ctx, c.Client(fresh)).Holds(t, written, more)
		c.Generation(1)
	})
}
