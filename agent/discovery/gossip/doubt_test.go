package gossip

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"rekindle/agent/discovery"
)

// believes is true when memberlist itself takes an instance for alive.
func (n *node) believes(instance string) bool {
	return slices.ContainsFunc(n.list.Members(), func(m *memberlist.Node) bool { return m.Name == instance })
}

// TestReplayOfTheForgotten sends the packets of a master that died long ago again, each to every node, who have forgotten
// the messages and the master: memberlist believes them, and nobody else does.
func TestReplayOfTheForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		var mu sync.Mutex
		var recorded [][]byte
		recording := true
		l.network.Packet = func(_, _ netip.AddrPort, data []byte) {
			mu.Lock()
			defer mu.Unlock()
			if recording {
				recorded = append(recorded, bytes.Clone(data))
			}
		}
		all := l.nodes(1, 6)
		defer stop(all...)
		l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 6) })
		first := all[1]
		first.stop()
		again := l.options(2) // its agent starts again: there are two runs that may be repeated
		again.State = t.TempDir() + "/peers.json"
		second := l.start(again)
		if _, err := second.Join(t.Context(), []Seed{{address(1), "static"}}); err != nil {
			t.Fatal(err)
		}
		rest := append([]*node{all[0]}, all[2:]...)
		l.within(time.Minute, rest, "its second run", func(n *node) bool {
			n.members.mu.Lock()
			defer n.members.mu.Unlock()
			return n.members.all[instance(2)].run == second.self.run
		})
		time.Sleep(5 * time.Second)
		mu.Lock()
		recording = false
		mu.Unlock()
		second.stop()
		l.within(time.Minute, rest, "its death", func(n *node) bool { return n.state(instance(2)) == discovery.Dead })
		time.Sleep(10 * time.Minute) // memberlist forgets a dead node within two
		believed := map[string]bool{}
		for _, n := range rest {
			n.opener.nonce.mu.Lock()
			n.opener.nonce.new, n.opener.nonce.old = nil, nil
			n.opener.nonce.mu.Unlock()
		}
		for n := range rest {
			for _, data := range recorded {
				l.network.Send(address(200), rest[n].at, data)
			}
		}
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			for _, n := range rest {
				if n.believes(instance(2)) {
					believed[n.self.peer.Instance] = true
				}
				if got := n.living(); got != "i-001 i-003 i-004 i-005 i-006" {
					t.Fatalf("%s sees %s", n.self.peer.Instance, got)
				}
			}
		}
		if len(believed) == 0 {
			t.Error("not even memberlist believed it: the test shows nothing")
		}
	})
}

// TestVouched: a node that was away for ten minutes is back, and one of the others cannot reach it. That one believes the rest.
func TestVouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 8)
		defer stop(all...)
		everybody := func(n *node) bool { return n.living() == instances(1, 8) }
		l.within(10*time.Second, all, "together", everybody)
		l.network.Block(func(from, to netip.AddrPort) bool { return (from == address(8)) != (to == address(8)) })
		time.Sleep(10 * time.Minute)
		l.network.Block(func(from, to netip.AddrPort) bool {
			return from == address(1) && to == address(8) || from == address(8) && to == address(1)
		})
		t.Log("the others:", l.within(3*time.Minute, all[1:7], "back", everybody))
		t.Log("the first:", l.within(3*time.Minute, all[:1], "back", everybody))
	})
}

// died is memberlist's message that a node is dead.
func died(incarnation uint32, name, from string) []byte {
	message := []byte{5, 0x83}
	text := func(s string) { message = append(append(message, 0xa0|byte(len(s))), s...) }
	text("Incarnation")
	message = binary.BigEndian.AppendUint32(append(message, 0xce), incarnation)
	for _, s := range []string{"Node", name, "From", from} {
		text(s)
	}
	return message
}

// alive is memberlist's message that a node is, as any node with the key can make it.
func alive(incarnation uint32, name string, at netip.AddrPort, metadata []byte) []byte {
	message := []byte{4, 0x86}
	text := func(s string) { message = append(append(message, 0xa0|byte(len(s))), s...) }
	data := func(key string, d []byte) {
		text(key)
		message = append(append(message, 0xc4, byte(len(d))), d...)
	}
	text("Incarnation")
	message = binary.BigEndian.AppendUint32(append(message, 0xce), incarnation)
	text("Node")
	text(name)
	data("Addr", at.Addr().AsSlice())
	text("Port")
	message = binary.BigEndian.AppendUint16(append(message, 0xcd), at.Port())
	data("Meta", metadata)
	data("Vsn", []byte{1, 5, 5, 0, 0, 0})
	return message
}

// TestClaims: a node that has the key tells lies about a master that lives. The names are right at once, or as soon as the
// master has heard of it.
func TestClaims(t *testing.T) {
	lie := func(change func(*discovery.Peer)) discovery.Peer {
		p := peer(2)
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		says   discovery.Peer
		at     netip.AddrPort
		limit  time.Duration // that the lie may be believed
		counts string
	}{
		"it gossips where I do": {lie(func(p *discovery.Peer) { p.Addresses = []netip.Addr{address(9).Addr()} }), address(9), 0, ""},
		"its address is mine": {lie(func(p *discovery.Peer) { p.Addresses = []netip.Addr{address(9).Addr()} }), address(2), 0,
			refusedMalformed},
		"it is no master": {lie(func(p *discovery.Peer) { p.API, p.APIPort = "", 0 }), address(2), 2 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				all := l.nodes(1, 6)
				defer stop(all...)
				l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 6) })
				time.Sleep(10 * time.Second)
				right := discovery.Names(l.cluster, all[0].Peers())
				metadata, err := meta{peer: c.says, run: 7}.encode(l.cluster)
				if err != nil {
					t.Fatal(err)
				}
				lied := packet(l.keys.Primary, l.cluster, alive(1000, instance(2), c.at, metadata))
				for _, n := range all {
					l.network.Send(address(9), n.at, lied)
				}
				believed := time.Duration(0)
				for range 300 {
					time.Sleep(100 * time.Millisecond)
					for _, n := range all {
						if !maps.EqualFunc(discovery.Names(l.cluster, n.Peers()), right, slices.Equal) {
							believed += 100 * time.Millisecond
							break
						}
					}
				}
				t.Logf("believed for %v", believed)
				if believed > c.limit || c.limit > 0 && believed == 0 {
					t.Errorf("believed for %v, want at most %v, and not 0 where there is a limit", believed, c.limit)
				}
				if got := all[0].refusals(refusedMalformed); (got > 0) != (c.counts != "") {
					t.Errorf("%d refused", got)
				}
			})
		})
	}
}
