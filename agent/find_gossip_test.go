package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/discovery/gossip/gossiptest"
	"rekindle/agent/host"
	"rekindle/agent/store"
)

// TestMastersEndARotation: a key is added as `rekindle gossip rotate` does it, and three masters take the other steps, while two
// minions only read. No node ever loses another.
func TestMastersEndARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := store.NewDir(t.TempDir())
		before, version, err := gossip.EnsureKeyring(t.Context(), records)
		if err != nil {
			t.Fatal(err)
		}
		network := &gossiptest.Network{Latency: time.Millisecond}
		ctx, cancel := context.WithCancel(t.Context())
		defer func() {
			cancel()
			time.Sleep(time.Minute) // of the bubble: what memberlist still runs comes to its end
		}()
		first := netip.MustParseAddrPort("10.0.0.1:3987")
		var all []*gossip.Gossip
		for i := range byte(5) {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i + 1}), first.Port())
			self := discovery.Peer{Instance: fmt.Sprint("i-", i), Node: "n", Role: "minion", Addresses: []netip.Addr{at.Addr()}}
			if i < 3 {
				self.Role, self.API, self.APIPort = "master", discovery.Healthy, 6443
			}
			g, err := gossip.Start(gossip.Options{Cluster: "prod", Self: self, Bind: at.Addr(), Keys: before, Transport: network.Transport(at),
				Seeds: func(context.Context) []gossip.Seed { return []gossip.Seed{{At: first, Through: "static"}} }})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, g)
			f := &finding{Agent: &Agent{Options: Options{Logger: slog.New(slog.DiscardHandler)}, host: host.New(t.TempDir())},
				n: &node{inputs: &inputs{records: records}}, own: self, self: self}
			go func() { _ = g.Run(ctx) }()
			go f.keepKeys(ctx, g, version)
			time.Sleep(7 * time.Second) // they do not begin at the same moment
		}
		time.Sleep(5 * time.Minute) // they have seen the ring for long: a step must wait for the rotation to be seen, not for that
		next, err := before.Rotate(time.Now())
		if err == nil {
			err = gossip.WriteKeyring(t.Context(), records, next, version)
		}
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var steps []time.Duration
		last := next
		for time.Since(began) < 20*time.Minute && len(steps) < 2 {
			time.Sleep(time.Second)
			for i, g := range all {
				if g.Living() != len(all) {
					t.Fatalf("%s into the rotation node %d sees %d nodes", time.Since(began), i, g.Living())
				}
			}
			now, _, err := gossip.ReadKeyring(t.Context(), records)
			if err != nil {
				t.Fatal(err)
			}
			if now.Primary.ID != last.Primary.ID || len(now.Others) != len(last.Others) {
				steps, last = append(steps, time.Since(began)), now
			}
		}
		if len(steps) != 2 || last.Primary.ID != next.Others[0].ID || len(last.Others) != 0 {
			t.Fatalf("after %s: steps at %v, primary %s and %d others", time.Since(began), steps, last.Primary.ID, len(last.Others))
		}
		t.Log("steps at", steps)
		if steps[0] < keysSettle || steps[1]-steps[0] < keysSettle || steps[1] > 12*time.Minute {
			t.Errorf("steps at %v: want each %s after the one before, and the last within 12 min", steps, keysSettle)
		}
		time.Sleep(2 * time.Minute) // all have read the last ring
		for i, g := range all {
			if g.Living() != len(all) {
				t.Errorf("after the rotation node %d sees %d nodes", i, g.Living())
			}
		}
		for key, ring := range map[string]gossip.Keyring{"old": before, "new": last} {
			at := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), first.Port())
			late, err := gossip.Start(gossip.Options{Cluster: "prod", Bind: at.Addr(), Keys: ring, Transport: network.Transport(at),
				Self: discovery.Peer{Instance: "i-" + key, Node: "n", Role: "minion", Addresses: []netip.Addr{at.Addr()}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := late.Join(ctx, []gossip.Seed{{At: first}}); (err == nil) != (key == "new") {
				t.Errorf("joining with the %s key: %v", key, err)
			}
			if err := late.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
