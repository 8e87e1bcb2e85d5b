package gossip

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/discovery"
)

// apart is true of packets between the nodes up to last and the others.
func apart(last int) func(from, to netip.AddrPort) bool {
	first := func(a netip.AddrPort) bool { return a.Addr().Less(address(last + 1).Addr()) }
	return func(from, to netip.AddrPort) bool { return first(from) != first(to) }
}

// TestSplitHeals: two halves that memberlist has long forgotten on both sides find together again, without seeds.
func TestSplitHeals(t *testing.T) {
	for _, split := range []time.Duration{20 * time.Second, 3 * time.Minute, time.Hour} {
		t.Run(split.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				all := l.nodes(1, 12)
				defer stop(all...)
				l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 12) })
				l.seedless.Store(true) // as when the store is gone, too
				l.network.Block(apart(6))
				if split > time.Minute {
					l.within(time.Minute, all[:6], "apart", func(n *node) bool { return n.living() == instances(1, 6) })
					l.within(time.Minute, all[6:], "apart", func(n *node) bool { return n.living() == instances(7, 12) })
				}
				time.Sleep(split)
				if split >= time.Hour && all[0].list.NumMembers() != 6 {
					t.Error("memberlist remembers the other half: the test shows nothing")
				}
				l.network.Block(nil)
				took := l.within(2*time.Minute, all, "healed", func(n *node) bool { return n.living() == instances(1, 12) })
				t.Logf("a split of %v healed after %v", split, took)
			})
		})
	}
}

// TestOneWay: the first node cannot send to the second, and nobody thinks that either of them is dead for long.
func TestOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 8)
		defer stop(all...)
		everybody := func(n *node) bool { return n.living() == instances(1, 8) }
		l.within(10*time.Second, all, "together", everybody)
		l.network.Block(func(from, to netip.AddrPort) bool { return from == address(1) && to == address(2) })
		for range 600 {
			time.Sleep(time.Second)
			for _, n := range all {
				if !everybody(n) {
					t.Fatalf("%s sees %s", n.self.peer.Instance, n.living())
				}
			}
		}
	})
}

// TestLossAndDelay: 5 % lost and 100 ms one way do not make living nodes dead.
func TestLossAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.network.Latency, l.network.Loss = 100*time.Millisecond, 0.05
		all := l.nodes(1, 20)
		defer stop(all...)
		l.within(20*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 20) })
		dead := 0
		for range 300 {
			time.Sleep(time.Second)
			for _, n := range all {
				if n.living() != instances(1, 20) {
					dead++
				}
			}
		}
		t.Logf("%d of 6,000 looks missed a node", dead)
		if dead > 0 {
			t.Error("living nodes were taken for dead")
		}
	})
}

// TestNewsReachesAll: what one of nine nodes says of itself is known to the others within a second; an exchange of full states
// would take longer.
func TestNewsReachesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.network.Latency = time.Millisecond
		all := l.nodes(1, 9)
		defer stop(all...)
		l.within(20*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 9) })
		const updates = 200
		missed := 0
		for i := range updates {
			said := withVersion(all[i%9].self.peer, fmt.Sprint("v", i))
			if err := all[i%9].Update(said); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			for _, n := range all {
				if !slices.ContainsFunc(n.Peers(), func(p discovery.Sighting) bool { return p.Version == said.Version }) {
					missed++
				}
			}
		}
		// When each piece of news was passed on half as often, about ten missed somebody.
		if missed > updates/50 {
			t.Errorf("%d nodes missed one of %d pieces of news", missed, updates)
		}
		t.Logf("%d nodes missed one of %d pieces of news", missed, updates)
	})
}

// TestObjectionUnheard: a node is said to have died, and the others do not hear that it objects. Who knows that newer word has no reason
// to repeat it later.
func TestObjectionUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.network.Latency = time.Millisecond
		all := l.nodes(1, 12)
		defer stop(all...)
		everybody := func(n *node) bool { return n.living() == instances(1, 12) }
		l.within(20*time.Second, all, "together", everybody)
		for round := range 6 {
			time.Sleep(time.Minute)
			l.network.Lose(func(data []byte) bool { return len(data) > 180 }) // what says that somebody lives, or objects
			l.network.Send(address(3), address(1), packet(l.keys.Primary, l.cluster, died(uint32(1000*(round+1)), instance(2), instance(3))))
			l.within(time.Second, all[:1], "takes 2 for dead", func(n *node) bool { return n.state(instance(2)) == discovery.Dead })
			l.within(8*time.Second, all, "together again", everybody)
			l.network.Lose(nil)
		}
	})
}

// TestAnotherAddress: an instance dies and comes back at once under another address, as when its interface was replaced.
func TestAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 10)
		defer stop(all...)
		l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 10) })
		all[1].stop()
		o := l.options(99)
		o.Self.Instance = instance(2)
		o.Seeds = func(context.Context) []Seed { return []Seed{{address(1), "seeds"}} }
		moved := l.start(o)
		defer stop(moved)
		rest := append([]*node{moved, all[0]}, all[2:]...)
		took := l.within(30*time.Second, rest, "2 at its new address", func(n *node) bool {
			i := slices.IndexFunc(n.Peers(), func(s discovery.Sighting) bool { return s.Instance == instance(2) })
			return n.living() == instances(1, 10) && n.Peers()[i].Addresses[0] == address(99).Addr()
		})
		t.Log("known after", took)
	})
}

// TestTwins: two nodes claim to be one instance, both alive. The first is believed, everything else goes
// on, and when the first is gone the second is.
func TestTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 5)
		defer stop(all...)
		l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 5) })
		o := l.options(99)
		o.Self.Instance = instance(2)
		twin := l.start(o)
		defer stop(twin)
		if _, err := twin.Join(t.Context(), []Seed{{address(1), "static"}}); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute)
		for _, n := range all {
			for _, s := range n.Peers() {
				if s.State != discovery.Alive || s.Instance == instance(2) && s.Addresses[0] != address(2).Addr() {
					t.Errorf("%s sees %+v", n.self.peer.Instance, s)
				}
			}
		}
		if all[0].members.happened()["conflict"] == 0 {
			t.Error("nobody noticed")
		}
		all[1].stop()
		rest := append([]*node{twin, all[0]}, all[2:]...)
		l.within(20*time.Second, rest, "the second believed", func(n *node) bool {
			i := slices.IndexFunc(n.Peers(), func(s discovery.Sighting) bool { return s.Instance == instance(2) })
			return n.living() == instances(1, 5) && n.Peers()[i].Addresses[0] == address(99).Addr()
		})
	})
}

// TestRestart: an agent that is restarted finds its peers through its disk and is never seen dead.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		path := filepath.Join(t.TempDir(), "gossip", "peers.json")
		rest := l.nodes(1, 5)
		defer stop(rest...)
		o := l.options(6)
		o.State = path
		n := l.start(o)
		if _, err := n.Join(t.Context(), []Seed{{address(3), "static"}}); err != nil {
			t.Fatal(err)
		}
		everybody := func(n *node) bool { return n.living() == instances(1, 6) }
		l.within(10*time.Second, append(rest, n), "together", everybody)
		for range 3 {
			n.stop()
			time.Sleep(2 * time.Second)
			o := l.options(6)
			o.State = path
			o.Self.Version = "2.0.0"
			n = l.start(o)
			defer stop(n)
			l.within(5*time.Second, append(rest, n), "together", everybody)
			if got := n.Peers()[0].Through; !strings.HasPrefix(got, "disk 10.0.0.") {
				t.Errorf("found through %q", got)
			}
			time.Sleep(time.Minute)
		}
		for _, r := range rest {
			if r.members.happened()["leave"] > 0 {
				t.Errorf("%s saw somebody die", r.self.peer.Instance)
			}
			if got := r.Peers()[5].Version; got != "2.0.0" {
				t.Errorf("%s knows version %s", r.self.peer.Instance, got)
			}
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		peers, err := parseKnown("one.example", data)
		if err != nil || len(peers) != 5 || peers[0].Role != "master" || peers[4].Role != "minion" {
			t.Errorf("on disk: %+v, error %v", peers, err)
		}
	})
}
