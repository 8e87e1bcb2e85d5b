//go:build network

package network

import (
	"context"
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

// With loss of 5 % and answers after 200 ms, and then after 400 ms, nobody is taken for dead; a minion joins, and a master is
// replaced.
func TestBadNetwork(t *testing.T) {
	on(t, Shape{Masters: 3, Minions: 3}, func(ctx context.Context, c *Cluster) {
		for _, delay := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
			c.Step(delay.String()+" each way", func(*testing.T) { c.steady(ctx, delay) })
		}
		c.Step("join", func(*testing.T) {
			died, begun := c.deaths(ctx), time.Now()
			if err := c.Cloud.SetDesired(minions, 4); err != nil {
				t.Fatal(err)
			}
			c.Whole(ctx, rebuildLimit, 3, 4)
			c.t.Logf("measured: another minion is ready and everybody knows it after %s", since(begun))
			if now := c.deaths(ctx); now != died {
				c.t.Errorf("%d times a node was taken for dead", now-died)
			}
		})
		c.Step("replaced", func(*testing.T) {
			victim, all := c.Members(masters)[1], c.Members(minions)
			gone, begun := c.Address(victim), time.Now()
			c.count(all...)
			c.replace(victim)
			c.Within(ctx, goneLimit, "the dead address is nowhere", func() error { return c.nowhere(gone) })
			c.t.Logf("measured: a master that was terminated is in no name of anybody after %s", since(begun))
			c.Whole(ctx, rebuildLimit, 3, 4)
			c.t.Logf("measured: another master has its place and every node knows it after %s", since(begun))
			if slices.Contains(c.Addresses(c.Members(masters)...), gone) {
				c.t.Errorf("the new one has the old one's address %s: this proves nothing", gone)
			}
			if saw := c.saw("replaced", all...); saw.longest > blackHoleLimit {
				c.t.Errorf("%+v, want no more than %s without an answer", saw, blackHoleLimit)
			}
			c.Generation(ctx, 1)
		})
	})
}

// steady proves that for 40 s nothing happens: twice as long as the longest suspicion, in which each node is probed 200 times.
func (c *Cluster) steady(ctx context.Context, delay time.Duration) {
	all := c.Members(minions)
	died, units := c.deaths(ctx), c.units()
	c.bad(delay)
	c.count(all...)
	c.Throughout(ctx, 40*time.Second, "nobody is missing", c.namesRight)
	if now := c.deaths(ctx); now != died {
		c.t.Errorf("%d times a node was taken for dead", now-died)
	}
	saw := c.saw(delay.String()+" each way", all...)
	if saw.failures > 0 || saw.longest > blackHoleLimit {
		c.t.Errorf("%+v, want no failures, and no more than %s without an answer", saw, blackHoleLimit)
	}
	for id, now := range c.units() {
		if !slices.Equal(now, units[id]) {
			c.t.Errorf("units of %s were started anew: %v, were %v", id, now, units[id])
		}
	}
}
