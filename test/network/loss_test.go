//go:build network

package network

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"rekindle/test/vpc"
)

// everybody is in Shape whoever has no link of his own.
var everybody netip.Addr

// bad has every packet between two nodes lost with a probability of 5 %, and late. AWS itself is as near as ever.
func (c *Cluster) bad(delay time.Duration) {
	v := c.VPC()
	v.Shape(everybody, everybody, vpc.Link{Loss: 0.05, Delay: delay, Jitter: delay / 10})
	v.Shape(everybody, v.Gateway(), vpc.Link{})
	v.Shape(v.Gateway(), everybody, vpc.Link{})
}

// With loss of 5 % and answers after 200 ms nobody is taken for dead; a minion joins, and a master is replaced. Where answers take
// 400 ms, others help to probe a node whose packet was lost, but too late for the second that a probe has: now and then somebody
// takes another one for dead, and looks for it after 15 to 45 s.
func TestBadNetwork(t *testing.T) {
	on(t, Shape{Masters: 3, Minions: 3}, func(ctx context.Context, c *Cluster) {
		c.Step("100 ms each way", func(*testing.T) {
			died := c.deaths(ctx)
			c.steady(ctx, 100*time.Millisecond)
			c.alive(ctx, died)
		})
		c.Step("joined", func(*testing.T) { c.joined(ctx) })
		c.Step("replaced", func(*testing.T) { c.replaced(ctx) })
		c.Step("200 ms each way", func(*testing.T) { c.steady(ctx, 200*time.Millisecond) })
	})
}

// steady proves that for 30 s nothing happens: longer than the longest suspicion, and nodes probe each other some 200 times.
// Clients are answered and names are of use, and who is taken for dead is back when the missing have been looked for.
func (c *Cluster) steady(ctx context.Context, delay time.Duration) {
	all := c.Members(minions)
	died, units := c.deaths(ctx), c.units()
	c.bad(delay)
	c.count(all...)
	c.Throughout(ctx, 30*time.Second, 0, "names are of use", c.namesUsable)
	c.t.Logf("measured: %s each way: %d times a node was taken for dead", delay, c.deaths(ctx)-died)
	saw := c.saw(delay.String()+" each way", all...)
	// Two checks of a master in a row may be lost, and the proxy then moves its clients.
	if saw.failures*20 > saw.answers || saw.longest > blackHoleLimit {
		c.t.Errorf("%+v, want one failure in 20 questions at most, and no more than %s without an answer", saw, blackHoleLimit)
	}
	if now := c.units(); !maps.EqualFunc(units, now, slices.Equal) {
		c.t.Errorf("units of nodes were started anew: %v, were %v", now, units)
	}
	c.Within(ctx, healLimit, "nobody is missing", func() error { return knows(c.Nodes(), c.Nodes()) })
}

// namesUsable is an error if somebody has no master, or one that is none. A master that finds itself not ready is in no name: with
// such delays etcd elects leaders now and then, and API servers are not ready meanwhile.
func (c *Cluster) namesUsable() error {
	servers := c.Addresses(c.Members(masters)...)
	for _, n := range c.Nodes() {
		got, err := podNames(n)
		if err != nil {
			return err
		}
		if len(got) == 0 || slices.ContainsFunc(got, func(a netip.Addr) bool { return !slices.Contains(servers, a) }) {
			return fmt.Errorf("%s: /run/rekindle/hosts has %v, of %v", n.ID, got, servers)
		}
	}
	return nil
}

// alive fails if a node was taken for dead since there were so many deaths.
func (c *Cluster) alive(ctx context.Context, deaths int) {
	c.t.Helper()
	if now := c.deaths(ctx); now != deaths {
		c.t.Errorf("%d times a node was taken for dead", now-deaths)
	}
}

// joined has the group of the minions grow.
func (c *Cluster) joined(ctx context.Context) {
	died, begun := c.deaths(ctx), time.Now()
	if err := c.Cloud.SetDesired(minions, 4); err != nil {
		c.t.Fatal(err)
	}
	c.Whole(ctx, rebuildLimit, 3, 4)
	c.t.Logf("measured: another minion is ready and everybody knows it after %s", since(begun))
	c.alive(ctx, died)
}

// replaced has a master end and its group launch another one.
func (c *Cluster) replaced(ctx context.Context) {
	victim, all := c.Members(masters)[1], c.Members(minions)
	gone, begun := c.Address(victim), time.Now()
	c.count(all...)
	c.replace(victim)
	c.Within(ctx, goneLimit, "the dead address is nowhere", func() error { return c.nowhere(gone) })
	c.t.Logf("measured: a master that was terminated is in no name of anybody after %s", since(begun))
	c.Whole(ctx, rebuildLimit, 3, len(all))
	c.t.Logf("measured: another master has its place and every node knows it after %s", since(begun))
	if slices.Contains(c.Addresses(c.Members(masters)...), gone) {
		c.t.Errorf("the new one has the old one's address %s: this proves nothing", gone)
	}
	if saw := c.saw("replaced", all...); saw.longest > blackHoleLimit {
		c.t.Errorf("%+v, want no more than %s without an answer", saw, blackHoleLimit)
	}
	c.Generation(ctx, 1)
}
