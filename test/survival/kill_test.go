package survival

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"rekindle/test/lab/node"
)

// kills is how often an agent is killed before it is left alone.
const kills = 6

// pester kills the agent of a node at random moments, at once and without a word, and starts it again: every other time soon after
// it has said what it decided about etcd. It returns the rows that it had said.
func (c *Cluster) pester(ctx context.Context, random *rand.Rand, n *node.Node) (rows []string) {
	c.t.Helper()
	for i := range kills {
		if i%2 == 1 {
			c.Await(ctx, n.ID+" says what it decided", func() error {
				if decided(n) == "" {
					return errors.New("nothing yet")
				}
				return nil
			})
		}
		select {
		case <-time.After(time.Duration(random.Int64N(int64(time.Second)))):
		case <-ctx.Done():
			c.t.Fatal(ctx.Err())
		}
		if n.PID() == 0 {
			c.t.Fatalf("%s: the agent ended by itself", n.ID)
		}
		rows = append(rows, decided(n))
		if err := n.Kill(); err != nil {
			c.t.Fatal(err)
		}
		if err := n.Start(); err != nil {
			c.t.Fatal(err)
		}
	}
	return rows
}

// decided is the row of what the agent that runs now decided about etcd, if it has said so.
func decided(n *node.Node) string {
	s, err := n.Status()
	if err != nil || s.Agent.PID != n.PID() || len(s.Etcd) == 0 {
		return ""
	}
	return s.Etcd[0].Row
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

// The agent is killed while its node joins, rescues and restores.
func TestKilled(t *testing.T) { killed(t, 0) }

// The same at other moments.
func TestKilledAgain(t *testing.T) { killed(t, 1) }

func killed(t *testing.T, seed uint64) {
	survive(t, Shape{Masters: 3, Long: true}, func(ctx context.Context, c *Cluster) {
		random := rand.New(rand.NewPCG(seed, 1))
		client := c.Client(c.Ready(ctx, 3)...)
		c.Whole(ctx, client, 3)
		written := c.Write(ctx, client, "before", 50)
		c.Step("join", func(t *testing.T) {
			for range 2 {
				c.killedInJoin(ctx, t, random, written)
			}
		})
		c.Step("rescue", func(t *testing.T) { c.killedInRescue(ctx, t, random) })
		c.Step("restore", func(t *testing.T) { c.killedInRestore(ctx, t, random) })
	})
}

func (c *Cluster) killedInJoin(ctx context.Context, t *testing.T, random *rand.Rand, written map[string]string) {
	nodes := c.Ready(ctx, 3)
	members := c.Whole(ctx, c.Client(nodes...), 3)
	c.End(nodes[random.IntN(3)])
	rows := c.pester(ctx, random, c.launched(ctx, nodes))
	client := c.Client(c.Converge(ctx, 3)...)
	if kept := common(members, c.Whole(ctx, client, 3)); kept != 2 {
		t.Errorf("%d members stayed", kept)
	}
	c.Read(ctx, client).Holds(t, written)
	c.Generation(1)
	t.Logf("measured: killed at %q", rows)
}

func (c *Cluster) killedInRescue(ctx context.Context, t *testing.T, random *rand.Rand) {
	nodes := c.Ready(ctx, 3)
	client := c.Client(nodes...)
	c.Whole(ctx, client, 3)
	c.Level(ctx, client, nodes)
	before := c.Read(ctx, client)
	generation := c.Lineage().Generation
	survivor := nodes[random.IntN(3)]
	c.End(slices.DeleteFunc(slices.Clone(nodes), func(n *node.Node) bool { return n == survivor })...)
	c.Says(ctx, survivor, "that it acts", row("position"))
	rows := c.pester(ctx, random, survivor)
	client = c.Client(c.Converge(ctx, 3)...)
	c.Whole(ctx, client, 3)
	after := c.Read(ctx, client)
	after.Holds(t, before.Keys)
	c.Raised(ctx, client, before.Revision, after.Revision)
	now := c.Lineage()
	if now.Generation <= generation {
		t.Errorf("generation %d", now.Generation)
	}
	t.Logf("measured: killed at %q, generation %d", rows, now.Generation)
}

// killedInRestore takes all masters. Killed between the record and the marker, an agent begins yet another generation.
func (c *Cluster) killedInRestore(ctx context.Context, t *testing.T, random *rand.Rand) {
	nodes := c.Ready(ctx, c.shape.Masters)
	before := c.Read(ctx, c.Client(nodes...))
	c.Stored(ctx, before.Revision)
	generation := c.Lineage().Generation
	c.End(nodes...)
	rows := c.pester(ctx, random, c.launched(ctx, nodes))
	client := c.Client(c.Converge(ctx, c.shape.Masters)...)
	c.Whole(ctx, client, c.shape.Masters)
	now := c.Lineage()
	if now.Generation <= generation {
		t.Errorf("generation %d, was %d", now.Generation, generation)
	}
	c.Restored(ctx, client, now.Generation, before)
	t.Logf("measured: killed at %q, generation %d", rows, now.Generation)
}

// The only master's agent is killed while it restores.
func TestKilledAlone(t *testing.T) {
	survive(t, Shape{Masters: 1}, func(ctx context.Context, c *Cluster) {
		random := rand.New(rand.NewPCG(4, 1))
		c.Write(ctx, c.Client(c.Ready(ctx, 1)...), "before", 50)
		for i := range 4 {
			c.Step(fmt.Sprint(i), func(t *testing.T) { c.killedInRestore(ctx, t, random) })
		}
	})
}
