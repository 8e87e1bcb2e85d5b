package gossip

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/discovery"
)

// TestClustersNeverMix runs two clusters on one network, with the same keys even, each with the other's nodes as seeds.
func TestClustersNeverMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		everywhere := func(context.Context) (seeds []Seed) {
			for n := 1; n <= 10; n++ {
				seeds = append(seeds, Seed{address(n), "static"})
			}
			return seeds
		}
		var one, two []*node
		for n := 1; n <= 10; n++ {
			o := l.options(n)
			o.Seeds = everywhere
			if n > 5 {
				o.Cluster = "two.example"
			}
			g := l.start(o)
			if n > 5 {
				two = append(two, g)
			} else {
				one = append(one, g)
			}
		}
		defer stop(append(one, two...)...)
		l.within(time.Minute, one, "one together", func(n *node) bool { return n.living() == instances(1, 5) })
		l.within(time.Minute, two, "two together", func(n *node) bool { return n.living() == instances(6, 10) })
		time.Sleep(15 * time.Minute)
		var refused uint64
		for _, n := range one {
			refused += n.refusals(refusedLabel)
			if got := n.living(); got != instances(1, 5) {
				t.Errorf("%s sees %s", n.self.peer.Instance, got)
			}
		}
		if refused == 0 {
			t.Error("nothing was refused: the clusters did not meet")
		}
	})
}

// TestOtherClusterBehindOurLabel: label and key are ours, the metadata is not.
func TestOtherClusterBehindOurLabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		good := l.nodes(1, 2)
		defer stop(good...)
		o := l.options(3)
		bad, err := Start(o)
		if err != nil {
			t.Fatal(err)
		}
		bad.cluster = "two.example"
		if err := bad.Update(o.Self); err != nil {
			t.Fatal(err)
		}
		stranger := &node{Gossip: bad, stop: func() { _ = bad.Close() }}
		defer stop(stranger)
		_ = bad.list.UpdateNode(time.Second)
		_, _ = bad.Join(t.Context(), []Seed{{address(1), "static"}})
		time.Sleep(time.Minute)
		for _, n := range good {
			if n.living() != instances(1, 2) {
				t.Errorf("%s sees %s", n.self.peer.Instance, n.living())
			}
		}
		if good[0].refusals(refusedCluster) == 0 {
			t.Error("nothing was refused")
		}
	})
}

func TestWrongKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 3)
		defer stop(all...)
		l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 3) })
		o := l.options(4)
		o.Keys = NewKeyring(time.Now())
		stranger := l.start(o)
		defer stop(stranger)
		if n, err := stranger.Join(t.Context(), []Seed{{address(1), "static"}, {address(4), "static"}}); err == nil || n != 0 {
			t.Errorf("joined %d with a key of its own", n)
		}
		// It listens, too: what the others send it says nothing to it.
		_ = all[1].list.SendToAddress(stranger.list.LocalNode().FullAddress(), []byte("hello"))
		time.Sleep(10 * time.Minute)
		for _, n := range all {
			if n.living() != instances(1, 3) {
				t.Errorf("%s sees %s", n.self.peer.Instance, n.living())
			}
		}
		if stranger.living() != instance(4) {
			t.Errorf("the stranger sees %s", stranger.living())
		}
		if all[0].refusals(refusedKey) == 0 || stranger.refusals(refusedKey) == 0 {
			t.Error("nothing was refused")
		}
	})
}

func TestStartRefuses(t *testing.T) {
	l := newLab(t)
	for name, change := range map[string]func(*Options){
		"no key": func(o *Options) { o.Keys = Keyring{} }, "no cluster": func(o *Options) { o.Cluster = "" },
		"a key of zeros": func(o *Options) { o.Keys.Primary.Secret = Secret{} },
		"no address":     func(o *Options) { o.Bind = netip.Addr{} },
		"nothing to advertise": func(o *Options) {
			o.Bind = netip.IPv4Unspecified()
		},
		"a port too high": func(o *Options) { o.Port = 65536 }, "a long label": func(o *Options) { o.Cluster = strings.Repeat("a", 256) },
		"no instance": func(o *Options) { o.Self.Instance = "" }, "a zone of two lines": func(o *Options) { o.Self.Zone = "a\nb" },
	} {
		o := l.options(1)
		change(&o)
		if g, err := Start(o); err == nil {
			t.Errorf("%s: started", name)
			_ = g.Close()
		}
	}
}

// TestRotation replaces the key of 12 nodes in three steps, each at another moment on each node. No node is ever seen
// suspect or dead, and in the end the old key says nothing to anybody.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 12)
		defer stop(all...)
		everybody := func(n *node) bool { return n.living() == instances(1, 12) }
		l.within(10*time.Second, all, "together", everybody)
		old := l.keys
		first, err := old.WithNew(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		second, _ := first.WithPrimary(first.Others[0].ID)
		third, _ := second.Without(old.Primary.ID)
		before := make([]uint64, len(all))
		for i, n := range all {
			before[i] = n.members.happened()["leave"]
		}
		for step, ring := range []Keyring{first, second, third} {
			for _, n := range all {
				if err := n.SetKeys(ring); err != nil {
					t.Fatal(err)
				}
				// Everything goes on while half of the nodes have the ring: probes, news, full states.
				if err := n.Update(withVersion(n.self.peer, string(rune('a'+step)))); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Second)
				for i, m := range all {
					if !everybody(m) || m.members.happened()["leave"] != before[i] {
						t.Fatalf("step %d: %s sees %s", step+1, m.self.peer.Instance, m.living())
					}
				}
			}
			for _, n := range all {
				for _, s := range n.Peers() {
					if s.Version != string(rune('a'+step)) {
						t.Errorf("step %d: %s has not heard from %s", step+1, n.self.peer.Instance, s.Instance)
					}
				}
				if got := n.refusals(refusedKey); got > 0 {
					t.Errorf("step %d: %s refused %d", step+1, n.self.peer.Instance, got)
				}
			}
		}
		o := l.options(13) // still with the old ring
		late := l.start(o)
		defer stop(late)
		if _, err := late.Join(t.Context(), []Seed{{address(1), "static"}}); err == nil {
			t.Error("the old key still opens the door")
		}
		for _, n := range all {
			if keys := n.opener.ring.GetKeys(); len(keys) != 1 || Secret(keys[0]) != third.Primary.Secret {
				t.Errorf("%s has %d keys", n.self.peer.Instance, len(keys))
			}
		}
	})
}

func withVersion(p discovery.Peer, version string) discovery.Peer {
	p.Version = version
	return p
}

// TestRotationInAHurry gives one node a new key that the others do not have: they take it for dead until it has theirs
// again. It shows that TestRotation can fail.
func TestRotationInAHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 4)
		defer stop(all...)
		l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 4) })
		if err := all[0].SetKeys(NewKeyring(time.Now())); err != nil {
			t.Fatal(err)
		}
		l.within(time.Minute, all[1:], "without the first", func(n *node) bool { return n.state(instance(1)) == discovery.Dead })
		if err := all[0].SetKeys(l.keys); err != nil {
			t.Fatal(err)
		}
		l.within(2*time.Minute, all, "together again", func(n *node) bool { return n.living() == instances(1, 4) })
	})
}

// TestKeysWhileInUse replaces rings of every order while others seal and open: the race detector and the last one to be
// removed decide.
func TestKeysWhileInUse(t *testing.T) {
	r := NewKeyring(time.Now())
	o, err := newOpener("one", r)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var using sync.WaitGroup
	using.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, key := range o.ring.GetKeys() {
				_ = slices.Max(key)
			}
			o.packet([]byte("\xf4\x03onexxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"))
		}
	})
	for range 200 {
		a, _ := r.WithNew(time.Now())
		b, _ := a.WithNew(time.Now())
		c, _ := b.WithPrimary(b.Others[1].ID)
		d, _ := c.Without(a.Others[0].ID)
		e, _ := d.Without(r.Primary.ID)
		for _, ring := range []Keyring{a, b, c, d, e} {
			if err := o.set(ring); err != nil {
				t.Fatal(err)
			}
			keys := o.ring.GetKeys()
			if len(keys) != len(ring.all()) || Secret(keys[0]) != ring.Primary.Secret {
				t.Fatalf("%d keys, want %d", len(keys), len(ring.all()))
			}
			for _, k := range ring.Others {
				if !slices.ContainsFunc(keys, func(key []byte) bool { return Secret(key) == k.Secret }) {
					t.Fatalf("key %s is missing", k.ID)
				}
			}
		}
		r = e
	}
	close(done)
	using.Wait()
}
