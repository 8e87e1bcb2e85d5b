package survival

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// parallel is how many clusters live at once, unless -parallel says otherwise.
const parallel = "6"

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
	if os.Getenv(preparedVariable) != "" {
		return m.Run(), nil
	}
	if scratch, err = os.MkdirTemp("", "survival"); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, os.RemoveAll(scratch)
}

// A master that is terminated is replaced by a member of another name, and nothing is missing.
func TestOneOfThree(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		written := c.Write(ctx, client, "before", 50)
		before := c.Read(ctx, client)
		members := c.Whole(ctx, client, 3)
		start := time.Now()
		c.End(nodes[1])
		client = c.Client(c.Ready(ctx, 3)...)
		after := c.Read(ctx, client)
		after.Holds(t, written)
		if after.Revision < before.Revision {
			t.Errorf("revision %d, was %d", after.Revision, before.Revision)
		}
		t.Logf("measured: three ready again after %v", time.Since(start).Round(100*time.Millisecond))
		kept := 0
		for _, m := range c.Whole(ctx, client, 3) {
			for _, was := range members {
				if m.ID == was.ID {
					kept++
				}
			}
		}
		if kept != 2 {
			t.Errorf("%d members stayed", kept)
		}
		c.Generation(1)
	})
}

// Two of three masters are gone for good: the third one has everything that was acknowledged, and the cluster goes on in a
// new generation.
func TestTwoOfThree(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		written := c.Write(ctx, client, "before", 50)
		before := c.Read(ctx, client)
		start := time.Now()
		c.End(nodes[0], nodes[2])
		client = c.Client(c.Ready(ctx, 3)...)
		after := c.Read(ctx, client)
		after.Holds(t, written)
		if after.Revision <= before.Revision {
			t.Errorf("revision %d, was %d", after.Revision, before.Revision)
		}
		t.Logf("measured: three ready again after %v", time.Since(start).Round(100*time.Millisecond))
		c.Whole(ctx, client, 3)
		c.Generation(2)
	})
}

// The only master is gone with its disk: another one restores what was stored.
func TestOneOfOne(t *testing.T) { all(t, Shape{Masters: 1}) }

// All three masters are gone with their disks.
func TestThreeOfThree(t *testing.T) { all(t, Shape{Masters: 3}) }

// A group of one master in each zone, all of them gone with their disks.
func TestThreeOfThreeZonal(t *testing.T) { all(t, Shape{Masters: 3, Zonal: true}) }

// all ends all masters of a shape.
func all(t *testing.T, shape Shape) {
	survive(t, shape, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, shape.Masters)
		client := c.Client(nodes...)
		c.Write(ctx, client, "before", 50)
		before := c.Read(ctx, client)
		c.Stored(ctx, before.Revision)
		start := time.Now()
		c.End(nodes...)
		client = c.Client(c.Ready(ctx, shape.Masters)...)
		t.Logf("measured: %d of %d ready after %v", shape.Masters, shape.Masters, time.Since(start).Round(100*time.Millisecond))
		c.Restored(ctx, client, 2, before)
		c.Whole(ctx, client, shape.Masters)
	})
}
