//go:build network

package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/test/lab/node"
	"rekindle/test/vpc"
)

// What docs/discovery.md promises of a master that cannot be reached is 1 s and 3 s: two more are for a busy machine.
const (
	resetLimit     = 3 * time.Second // its kernel resets connections
	blackHoleLimit = 5 * time.Second // packets to it are lost
	// rejectLimit is how long a client may wait for an error when no master can be reached: a connection that is there already is
	// given up after 6 s without an acknowledgement, a new one after 4 s.
	rejectLimit = 9 * time.Second
	// partitionGrace is how long a master may be taken for dead by those who reach it: by hearsay, until it objects.
	partitionGrace = 5 * time.Second
)

// Of three masters and four minions: what one of two cannot send to the other, in either direction, a partition of the masters
// from half of the minions, and a master that is rebuilt under another address.
func TestReachability(t *testing.T) {
	on(t, Shape{Masters: 3, Minions: 4}, func(ctx context.Context, c *Cluster) {
		c.Step("asymmetric", func(*testing.T) { c.asymmetric(ctx) })
		c.Step("partition", func(*testing.T) { c.partition(ctx) })
		c.Step("rebuilt", func(*testing.T) { c.rebuilt(ctx) })
	})
}

// asymmetric has packets from a minion to a master lost, and then those from the master to the minion. The others vouch for both.
func (c *Cluster) asymmetric(ctx context.Context) {
	minion, master := c.Members(minions)[0], c.Members(masters)[0]
	a, b := c.Address(minion), c.Address(master)
	for _, way := range []struct {
		what     string
		from, to netip.Addr
	}{{"a minion cannot send to a master", a, b}, {"a master cannot send to a minion", b, a}} {
		c.aim(ctx, minion, master)
		died := c.deaths(ctx)
		c.count(c.Members(minions)...)
		c.VPC().Shape(way.from, way.to, vpc.Link{Cut: true})
		// A suspect has 3 s to object once another node confirms, and 18 s while none does.
		c.Throughout(ctx, 20*time.Second, 0, way.what, c.namesRight)
		saw := c.saw(way.what, minion)
		if by, err := c.clients[minion.ID].answering(); err != nil || by == b.String() {
			c.t.Errorf("%s: answered by %s: %v", way.what, by, err)
		}
		if saw.longest > blackHoleLimit || saw.failures > 1 {
			c.t.Errorf("%s: %+v, want no more than %s without an answer", way.what, saw, blackHoleLimit)
		}
		c.undisturbed(way.what, c.Members(minions)[1:]...)
		c.alive(ctx, died)
		c.VPC().Mend()
	}
	c.Within(ctx, 15*time.Second, "the proxy has the master back", func() error { return c.backendsUp(minion, 3) })
}

// undisturbed fails unless clients went on as if nothing had happened.
func (c *Cluster) undisturbed(what string, nodes ...*node.Node) {
	c.t.Helper()
	if saw := c.saw(what+", the others", nodes...); saw.failures > 0 || saw.connections > 0 || saw.longest > blackHoleLimit {
		c.t.Errorf("%s: the others were not left alone: %+v", what, saw)
	}
}

// backendsUp is an error unless a minion's proxy has so many masters that answer.
func (c *Cluster) backendsUp(minion *node.Node, want int) error {
	s, err := minion.Status()
	if err != nil {
		return err
	}
	if s.Discovery == nil || s.Discovery.Proxy == nil {
		return errors.New("no proxy")
	}
	up := 0
	for _, b := range s.Discovery.Proxy.Backends {
		if b.State == "up" {
			up++
		}
	}
	if up != want {
		return fmt.Errorf("%d masters answer, not %d: %+v", up, want, s.Discovery.Proxy.Backends)
	}
	return nil
}

// partition cuts half of the minions off from all masters for 25 s: longer than any suspicion lasts.
func (c *Cluster) partition(ctx context.Context) {
	all, servers := c.Members(minions), c.Members(masters)
	cut, rest := all[:2], all[2:]
	died, units, names := c.deaths(ctx), c.units(), c.Addresses(servers...)
	client := c.etcd(servers...)
	before := c.put(ctx, client)
	c.count(all...)
	c.VPC().Between(c.Addresses(cut...), c.Addresses(servers...), vpc.Link{Cut: true})
	c.Throughout(ctx, 25*time.Second, partitionGrace, "partition", func() error {
		// The others vouch for the masters. One in ten probes of a minion that is cut off does not find one of them, though, and a
		// master that is taken for dead is looked for every 15 to 45 s only: it may be missing, but somebody is always there.
		return errors.Join(keep(rest, names), keep(servers, names), c.namesUsable())
	})
	saw := c.saw("cut off", cut...)
	if saw.failures == 0 || saw.slowest > rejectLimit {
		c.t.Errorf("the proxies of those that are cut off: %+v, want errors within %s", saw, rejectLimit)
	}
	c.t.Logf("measured: cut off: an error after %s at most", saw.slowest.Round(10*time.Millisecond))
	c.undisturbed("partition", rest...)
	if after := c.put(ctx, client); after <= before {
		c.t.Errorf("etcd: revision %d, was %d", after, before)
	}
	mended := time.Now()
	c.VPC().Mend()
	limited, cancel := context.WithTimeout(ctx, rejectLimit)
	defer cancel()
	c.answered(limited, cut...)
	c.Within(ctx, healLimit, "names are right", c.namesRight)
	c.t.Logf("measured: after a partition all are answered and have the names right within %s", since(mended))
	c.t.Logf("measured: partition: %d times a node was taken for dead for a moment", c.deaths(ctx)-died)
	if now := c.units(); !maps.EqualFunc(units, now, slices.Equal) {
		c.t.Errorf("units of nodes were started anew: %v, were %v", now, units)
	}
	c.Generation(ctx, 1)
}

// units are the processes beside the agents, by node.
func (c *Cluster) units() map[string][]int {
	all := map[string][]int{}
	for _, n := range c.Nodes() {
		pids := n.Processes()
		slices.Sort(pids)
		all[n.ID] = pids
	}
	return all
}

// etcd is a client of the members on some masters.
func (c *Cluster) etcd(of ...*node.Node) *clientv3.Client {
	c.t.Helper()
	client, err := c.Etcd().Dial(of...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.whole.Cleanup(func() { _ = client.Close() })
	return client
}

// put writes a key and returns the revision. What is not acknowledged, as while a leader is elected, is tried again.
func (c *Cluster) put(ctx context.Context, client *clientv3.Client) (revision int64) {
	c.t.Helper()
	c.Within(ctx, 30*time.Second, "etcd acknowledges a write", func() error {
		trying, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		answer, err := client.Put(trying, "/test/network", time.Now().String())
		if err == nil {
			revision = answer.Header.Revision
		}
		return err
	})
	return revision
}
