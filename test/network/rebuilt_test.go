//go:build network

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
)

// rebuildLimit is how long it may take until a master that was terminated has a successor and every node knows: its boot, on a
// machine that is busy with others, and seconds.
const rebuildLimit = 90 * time.Second

// goneLimit is how long a dead node may be in anybody's names in a cluster of this size: it is probed within so many seconds as
// there are nodes, is suspect for 3 s once a second node confirms, and the news travels.
const goneLimit = 25 * time.Second

// rebuilt terminates one of three masters: its kernel resets connections. The group launches another one.
func (c *Cluster) rebuilt(ctx context.Context) {
	all, servers := c.Members(minions), c.Members(masters)
	victim := servers[0]
	for _, n := range all[:2] {
		c.aim(ctx, n, victim)
	}
	c.count(all...)
	broken, moved := c.proxied(ctx, all...)
	gone := c.Address(victim)
	begun := time.Now()
	c.replace(victim)
	c.Within(ctx, goneLimit, "the dead address is nowhere", func() error { return c.nowhere(gone) })
	c.t.Logf("measured: a master that was terminated is in no name of anybody after %s", since(begun))
	c.Whole(ctx, rebuildLimit, 3, len(all))
	c.t.Logf("measured: another master has its place and every node knows it after %s", since(begun))
	if fresh := c.Addresses(c.Members(masters)...); slices.Contains(fresh, gone) {
		c.t.Errorf("the new one has the old one's address %s: this proves nothing", gone)
	}
	saw := c.saw("rebuilt master", all...)
	nowBroken, nowMoved := c.proxied(ctx, all...)
	c.t.Logf("measured: rebuilt master: of the proxied connections %d broke, and %d were closed to move", nowBroken-broken, nowMoved-moved)
	if saw.longest > resetLimit {
		c.t.Errorf("%+v, want no more than %s without an answer", saw, resetLimit)
	}
	// Those that had a connection to the victim lose it once, and nobody else loses one.
	if saw.connections > len(all) || saw.failures > len(all) {
		c.t.Errorf("%d connections were made anew by %d clients, %d questions failed", saw.connections, len(all), saw.failures)
	}
	if err := c.nowhere(gone); err != nil {
		c.t.Error(err)
	}
	c.Generation(ctx, 1)
}

// proxied is how many connections the proxies of some minions lost to masters that went, and how many they closed one by one, since
// they started.
func (c *Cluster) proxied(ctx context.Context, nodes ...*node.Node) (broken, moved int) {
	c.t.Helper()
	for _, n := range nodes {
		for name, sum := range map[string]*int{
			`rekindle_apiproxy_failures_total{reason="lost"}`: &broken, `rekindle_apiproxy_failures_total{reason="down"}`: &broken,
			"rekindle_apiproxy_drained_total": &moved,
		} {
			value, err := c.metric(ctx, n, name)
			if err != nil {
				c.t.Fatalf("%s: %v", n.ID, err)
			}
			*sum += int(value)
		}
	}
	return broken, moved
}

// replace terminates nodes, all at once; their groups launch others.
func (c *Cluster) replace(nodes ...*node.Node) {
	c.t.Helper()
	c.drop(nodes...)
	if _, err := c.TerminateAll(ids(nodes)); err != nil {
		c.t.Fatal(err)
	}
}

// nowhere is where an address still is: in a hosts file, or among the living that a node shows.
func (c *Cluster) nowhere(address netip.Addr) error {
	var errs []error
	for _, n := range c.Nodes() {
		for _, path := range []string{"/etc/hosts", "/run/rekindle/hosts"} {
			text, err := os.ReadFile(n.Path(path))
			if errors.Is(err, os.ErrNotExist) {
				continue // it boots
			}
			if err != nil {
				errs = append(errs, err)
			}
			if strings.Contains("\n"+string(text), "\n"+address.String()+" ") {
				errs = append(errs, fmt.Errorf("%s: %s has %s", n.ID, path, address))
			}
		}
		peers, err := status.ReadPeers(n.Path("/run/rekindle/peers.json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, p := range peers.Filter(nil, []string{"alive", "suspect"}).Peers {
			if slices.Contains(p.Addresses, address.String()) {
				errs = append(errs, fmt.Errorf("%s: %s is %s to it, at %s", n.ID, p.Instance, p.State, address))
			}
		}
	}
	return errors.Join(errs...)
}

// The only master is terminated with its disk. Its successor, under another address, restores etcd, and the minions come back.
func TestOnlyMaster(t *testing.T) {
	on(t, Shape{Masters: 1, Minions: 2}, func(ctx context.Context, c *Cluster) {
		victim, all := c.Members(masters)[0], c.Members(minions)
		written := c.put(ctx, c.etcd(victim))
		if _, err := c.Etcd().AwaitStored(ctx, 1, written, func(keyspace.Stored) {}); err != nil {
			t.Fatal(err)
		}
		gone, units := c.Address(victim), c.units()
		c.count(all...)
		begun := time.Now()
		c.replace(victim)
		c.Whole(ctx, rebuildLimit, 1, len(all))
		t.Logf("measured: the only master is rebuilt, and every node knows it, after %s", since(begun))
		saw := c.saw("only master", all...)
		if fresh := c.Address(c.Members(masters)[0]); fresh == gone || saw.by[fresh.String()] == 0 {
			t.Errorf("answered by %v; the new master is %s, the old one was %s", saw.by, fresh, gone)
		}
		if saw.slowest > rejectLimit {
			t.Errorf("%+v, want errors within %s", saw, rejectLimit)
		}
		if err := c.nowhere(gone); err != nil {
			t.Error(err)
		}
		for _, n := range all {
			if now := c.units()[n.ID]; !slices.Equal(now, units[n.ID]) {
				t.Errorf("units of %s were started anew: %v, were %v", n.ID, now, units[n.ID])
			}
		}
		c.Generation(ctx, 2)
		answer, err := c.etcd(c.Members(masters)...).Get(ctx, "/test/network")
		if err != nil || len(answer.Kvs) != 1 {
			t.Errorf("what was written before is not there: %v, %v", answer, err)
		}
	})
}
