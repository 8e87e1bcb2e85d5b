package survival

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"rekindle/test/lab/node"
)

// kills is how often an agent is killed before it is left alone.
const kills = 6

// pester kills the agent of a node at random moments, at once and without a word, and starts it again.
func (c *Cluster) pester(ctx context.Context, random *rand.Rand, n *node.Node) {
	c.t.Helper()
	for range kills {
		select {
		case <-time.After(time.Duration(random.Int64N(int64(1200 * time.Millisecond)))):
		case <-ctx.Done():
			c.t.Fatal(ctx.Err())
		}
		if err := n.Kill(); err != nil {
			c.t.Fatal(err)
		}
		if err := n.Start(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// launched is the node that was launched in the place of one that ended.
func (c *Cluster) launched(ctx context.Context, before []*node.Node) *node.Node {
	c.t.Helper()
	fresh, err := c.AwaitMembers(ctx, c.group(), 1, ids(before)...)
	if err != nil {
		c.t.Fatal(err)
	}
	return fresh[0]
}

// The agent is killed while it restores.
func TestKilledInRestore(t *testing.T) {
	for seed := range 4 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			survive(t, Shape{Masters: 1}, func(ctx context.Context, c *Cluster) {
				random := rand.New(rand.NewPCG(uint64(seed), 1))
				nodes := c.Ready(ctx, 1)
				client := c.Client(nodes...)
				c.Write(ctx, client, "before", 50)
				before := c.Read(ctx, client)
				c.Stored(ctx, before.Revision)
				c.End(nodes...)
				c.pester(ctx, random, c.launched(ctx, nodes))
				client = c.Client(c.Ready(ctx, 1)...)
				// Killed between the record and the marker it begins yet another generation.
				c.Restored(ctx, client, c.Lineage().Generation, before)
				t.Logf("measured: killed %d times, generation %d", kills, c.Lineage().Generation)
			})
		})
	}
}

// The agent is killed while it joins.
func TestKilledInJoin(t *testing.T) {
	for seed := range 3 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
				random := rand.New(rand.NewPCG(uint64(seed), 2))
				nodes := c.Ready(ctx, 3)
				client := c.Client(nodes...)
				c.Whole(ctx, client, 3)
				written := c.Write(ctx, client, "before", 50)
				c.End(nodes[seed])
				c.pester(ctx, random, c.launched(ctx, nodes))
				client = c.Client(c.Ready(ctx, 3)...)
				c.Whole(ctx, client, 3)
				c.Read(ctx, client).Holds(t, written)
				c.Generation(1)
			})
		})
	}
}

// The agent of the survivor is killed while it rescues.
func TestKilledInRescue(t *testing.T) {
	for seed := range 3 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
				random := rand.New(rand.NewPCG(uint64(seed), 3))
				nodes := c.Ready(ctx, 3)
				client := c.Client(nodes...)
				c.Whole(ctx, client, 3)
				written := c.Write(ctx, client, "before", 50)
				survivor := nodes[2]
				c.End(nodes[:2]...)
				c.Says(ctx, survivor, "that it acts", row("position"))
				c.pester(ctx, random, survivor)
				client = c.Client(c.Ready(ctx, 3)...)
				c.Whole(ctx, client, 3)
				c.Read(ctx, client).Holds(t, written)
				if g := c.Lineage().Generation; g < 2 {
					t.Errorf("generation %d", g)
				}
				t.Logf("measured: killed %d times, generation %d", kills, c.Lineage().Generation)
			})
		})
	}
}
