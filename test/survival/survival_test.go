package survival

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"rekindle/agent/status"
	"rekindle/test/apart"
)

// parallel is how many tests wait or run at once, unless -parallel says otherwise: all. How many clusters live at once is another
// matter, see apart.
const parallel = "100"

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", parallel); err != nil {
			return 0, err
		}
	}
	if apart.Here() {
		return m.Run(), nil
	}
	if scratch, err = os.MkdirTemp("", "survival"); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, os.RemoveAll(scratch)
}

// Of three masters two are gone. As long as they are only unreachable, nobody does anything about it; once they are terminated,
// the third one has everything that was acknowledged, and the cluster goes on in a new generation.
func TestMajority(t *testing.T) {
	survive(t, Shape{Masters: 3, Long: true}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		c.Whole(ctx, client, 3)
		written := c.Write(ctx, client, "before", 50)
		c.Stored(ctx, c.Read(ctx, client).Revision)
		c.Step("unreachable", func(t *testing.T) { c.unreachable(ctx, t, nodes[:2], nodes[2]) })
		c.Step("terminated", func(t *testing.T) {
			nodes := c.Ready(ctx, 3)
			client := c.Client(nodes...)
			c.Whole(ctx, client, 3)
			c.Read(ctx, client).Holds(t, written)
			w := c.NewWriter(ctx, "load")
			w.More(ctx, 100)
			w.Stop()
			c.Level(ctx, client, nodes) // the survivor has heard of what the two others acknowledged
			before := c.Read(ctx, client)
			start := time.Now()
			c.End(nodes[0], nodes[2])
			c.Says(ctx, nodes[1], "that it acts", row("position"))
			client = c.Client(c.Ready(ctx, 3)...)
			t.Logf("measured: three ready again after %v", time.Since(start).Round(100*time.Millisecond))
			after := c.Read(ctx, client)
			after.Holds(t, before.Keys)
			if n := w.Survived(t, after); n != len(w.Acked()) {
				t.Errorf("of %d acknowledged writes the first %d are there", len(w.Acked()), n)
			}
			c.Raised(ctx, client, before.Revision, after.Revision)
			c.Whole(ctx, client, 3)
			c.Generation(2)
			if !slices.ContainsFunc(c.Lineage().Members, onInstance(nodes[1].ID)) {
				t.Errorf("the survivor is no member: %+v", c.Lineage().Members)
			}
		})
	})
}

// A group of one master in each zone, all of them gone with their disks.
func TestZonalGroups(t *testing.T) {
	survive(t, Shape{Masters: 3, Zonal: true}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		c.Whole(ctx, client, 3)
		c.Write(ctx, client, "before", 50)
		before := c.Read(ctx, client)
		c.Stored(ctx, before.Revision)
		c.End(nodes...)
		nodes = c.Ready(ctx, 3)
		client = c.Client(nodes...)
		c.Restored(ctx, client, 2, before)
		c.Whole(ctx, client, 3)
		zones := map[string]bool{}
		for _, n := range nodes {
			zones[c.Cloud.Instance(n.ID).Zone] = true
		}
		if len(zones) != 3 {
			t.Errorf("masters in %v", zones)
		}
	})
}

// Two of five masters die at once: three are a quorum.
func TestTwoOfFive(t *testing.T) {
	survive(t, Shape{Masters: 5}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 5)
		client := c.Client(nodes...)
		before := c.Whole(ctx, client, 5)
		written := c.Write(ctx, client, "before", 20)
		c.Cloud.Suspend(c.group(), "Launch")
		c.End(nodes[1], nodes[3])
		client = c.Client(nodes[0], nodes[2], nodes[4])
		more := c.Write(ctx, client, "meanwhile", 20)
		c.Cloud.Resume(c.group(), "Launch")
		client = c.Client(c.Ready(ctx, 5)...)
		after := c.Whole(ctx, client, 5)
		if kept := common(before, after); kept != 3 {
			t.Errorf("%d members stayed", kept)
		}
		c.Read(ctx, client).Holds(t, written, more)
		c.Generation(1)
	})
}

// A single master, with an etcd of its own for Kubernetes' events, is gone with its disk: the next one restores both.
func TestSingleMasterOfBothClusters(t *testing.T) {
	survive(t, Shape{Masters: 1, Config: "etcd: {clusters: [main, events]}\n"}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 1)
		main, events := c.Client(nodes...), c.EventsClient(nodes[0])
		c.Write(ctx, main, "main", 20)
		c.Write(ctx, events, "events", 30)
		inMain, inEvents := c.Read(ctx, main), c.Read(ctx, events)
		c.Stored(ctx, inMain.Revision)
		c.StoredOf(ctx, "events", inEvents.Revision)
		start := time.Now()
		c.End(nodes...)
		nodes = c.Ready(ctx, 1)
		t.Logf("measured: one of one ready after %v", time.Since(start).Round(100*time.Millisecond))
		c.Restored(ctx, c.Client(nodes...), 2, inMain)
		c.RestoredOf(ctx, "events", c.EventsClient(nodes[0]), 2, inEvents)
		if m, e := c.Lineage(), c.LineageOf("events"); m.UID == e.UID {
			t.Errorf("%+v, %+v", m, e)
		}
		s, err := nodes[0].Status()
		if err != nil || len(s.Etcd) != 2 || slices.ContainsFunc(s.Etcd, func(e status.Etcd) bool { return e.Built == nil }) {
			t.Errorf("%v: %+v", err, s)
		}
	})
}
