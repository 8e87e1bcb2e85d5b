package gossip

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip/gossiptest"
)

func TestKnownRefused(t *testing.T) {
	file := func(peers string) string { return `{"cluster":"one.example","peers":[` + peers + `]}` }
	many := strings.Repeat(`{"instance":"i-1","at":"10.0.0.1:3987"},`, maxKnown)
	if _, err := parseKnown("one.example", []byte(file(`{"instance":"i-1","at":"10.0.0.1:3987","more":1}`))); err != nil {
		t.Error(err)
	}
	for name, text := range map[string]string{
		"empty": "", "cut": file("")[:20], "another cluster": strings.Replace(file(""), "one", "two", 1),
		"no port": file(`{"instance":"i-1","at":"10.0.0.1:0"}`), "no address": file(`{"instance":"i-1"}`),
		"0.0.0.0": file(`{"instance":"i-1","at":"0.0.0.0:1"}`), "no instance": file(`{"at":"10.0.0.1:1"}`),
		"a role of two lines": file(`{"instance":"i-1","at":"10.0.0.1:1","role":"a\nb"}`),
		"too many":            file(many + `{"instance":"i-2","at":"10.0.0.2:3987"}`), "too long": file(strings.Repeat(" ", maxKnownSize)),
	} {
		if peers, err := parseKnown("one.example", []byte(text)); err == nil {
			t.Errorf("%s: reads as %v", name, peers)
		}
	}
}

// TestBadStateFile: what lies on disk keeps nobody from starting.
func TestBadStateFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		path := filepath.Join(t.TempDir(), "peers.json")
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		all := l.nodes(1, 2)
		defer stop(all...)
		o := l.options(3)
		o.State = path
		n := l.start(o)
		defer stop(n)
		if _, err := n.Join(t.Context(), []Seed{{address(1), "static"}}); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), "10.0.0.2:3987") {
			t.Errorf("%s, error %v", data, err)
		}
	})
}

func FuzzKnown(f *testing.F) {
	f.Add([]byte(`{"cluster":"one","peers":[{"instance":"i-1","at":"10.0.0.1:3987","role":"master"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		peers, err := parseKnown("one", data)
		if err == nil && len(peers) > maxKnown {
			t.Fatalf("%d peers", len(peers))
		}
		for _, p := range peers {
			if checkAddress(p.At.Addr()) != nil || p.At.Port() == 0 || !word(p.Instance) || !word(p.Role) {
				t.Fatalf("%+v was read", p)
			}
		}
	})
}

// TestUpdate: what a node says of itself is everywhere within 2 s, however often it changes its mind.
func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 10)
		defer stop(all...)
		l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 10) })
		time.Sleep(time.Minute)
		for len(all[5].Changed()) > 0 {
			<-all[5].Changed()
		}
		p := peer(1)
		for i := range 100 {
			p.Version = fmt.Sprint(i)
			if err := all[0].Update(p); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		l.within(2*time.Second, all, "up to date", func(n *node) bool { return n.Peers()[0].Version == "99" })
		if n := all[5].members.happened()["update"]; n == 0 || n > 4 {
			t.Errorf("%d updates for 100 changes of a second", n)
		}
		if len(all[5].Changed()) != 1 {
			t.Error("nobody was told")
		}
		if err := all[0].Update(peer(2)); err == nil {
			t.Error("a node became another instance")
		}
		p.Zone = "a zone"
		if err := all[0].Update(p); err == nil {
			t.Error("a zone with a space was told")
		}
	})
}

// TestSuspect: a node whose probe got no answer shows the peer as suspect, which still counts, until it objects.
func TestSuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 3)
		defer stop(all...)
		l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 3) })
		l.network.Block(func(from, to netip.AddrPort) bool { return from == address(3) || to == address(3) })
		l.within(10*time.Second, all[:1], "3 suspect", func(n *node) bool { return n.state(instance(3)) == discovery.Suspect })
		if all[0].living() != instances(1, 3) {
			t.Error("a suspect does not count")
		}
		l.network.Block(nil)
		l.within(5*time.Second, all, "3 alive", func(n *node) bool { return n.state(instance(3)) == discovery.Alive })
	})
}

// TestSockets runs three nodes on real sockets, and reads their metrics.
func TestSockets(t *testing.T) {
	keys := NewKeyring(time.Now())
	registry := prometheus.NewRegistry()
	var all []*Gossip
	l := &lab{T: t, network: &gossiptest.Network{}}
	var running []*node
	for n := range 3 {
		self := peer(n + 1)
		at := netip.AddrFrom4([4]byte{127, 77, 0, byte(n + 1)})
		self.Addresses = []netip.Addr{at}
		o := Options{Cluster: "one", Self: self, Bind: at, Keys: keys}
		if n == 0 {
			o.Registry = registry
		}
		g := l.start(o)
		defer g.stop()
		running = append(running, g)
		all = append(all, g.Gossip)
	}
	for _, g := range all {
		n, err := g.Join(t.Context(), []Seed{{netip.MustParseAddrPort("127.77.0.1:3987"), "static"}})
		if err != nil || n > 1 {
			t.Errorf("%d answered: %v", n, err)
		}
	}
	l.within(10*time.Second, running, "together", func(n *node) bool { return n.Living() == 3 })
	metrics, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range metrics {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if values["rekindle_gossip_members alive"] != 3 || values["rekindle_gossip_changes_total join"] != 3 ||
		values["rekindle_gossip_bytes_total sent"] == 0 || values["rekindle_gossip_bytes_total received"] == 0 {
		t.Errorf("%v", values)
	}
	if _, there := values["rekindle_gossip_refused_total key"]; !there {
		t.Error("a reason without refusals has no series: its first one would not be a rise")
	}
	// A black hole does not hold anybody up.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := all[0].Join(ctx, []Seed{{netip.MustParseAddrPort("192.0.2.1:3987"), "static"}}); err == nil {
		t.Error("192.0.2.1 answered")
	}
}
