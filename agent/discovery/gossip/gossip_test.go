package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip/gossiptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a cluster in memory.
type lab struct {
	*testing.T
	network *gossiptest.Network
	keys    Keyring
	cluster string
	// seedless: the store has no seeds any more.
	seedless atomic.Bool
}

func newLab(t *testing.T) *lab {
	return &lab{
		T: t, cluster: "one.example", keys: NewKeyring(time.Now()),
		network: &gossiptest.Network{Latency: time.Millisecond},
	}
}

func address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), DefaultPort)
}

func instance(n int) string { return fmt.Sprintf("i-%03d", n) }

// peer is a master for the first three, and a minion otherwise.
func peer(n int) discovery.Peer {
	p := discovery.Peer{
		Instance: instance(n), Node: fmt.Sprintf("ip-10-0-%d-%d", n>>8, n&255), Role: "minion", Zone: "cn-north-1a",
		Addresses: []netip.Addr{address(n).Addr()}, Version: "1.2.3",
	}
	if n <= 3 {
		p.Role, p.APIPort, p.API, p.Etcd = "master", 6443, discovery.Healthy, discovery.Healthy
	}
	return p
}

func (l *lab) options(n int) Options {
	at := address(n)
	return Options{
		Cluster: l.cluster, Self: peer(n), Bind: at.Addr(), Keys: l.keys, Transport: l.network.Transport(at), Logger: logger(),
	}
}

// logger is silent unless somebody looks for a fault.
func logger() *slog.Logger {
	if os.Getenv("GOSSIP_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// node is a running Gossip.
type node struct {
	*Gossip
	stop func()
}

func (l *lab) start(o Options) *node {
	l.Helper()
	g, err := Start(o)
	if err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	var ended bool
	n := &node{Gossip: g, stop: func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			l.Error(err)
		}
	}}
	return n
}

// nodes starts the first to the last node, which join the first.
func (l *lab) nodes(first, last int) (all []*node) {
	for n := first; n <= last; n++ {
		o := l.options(n)
		o.Seeds = func(context.Context) []Seed {
			if l.seedless.Load() {
				return nil
			}
			return []Seed{{address(first), "seeds"}}
		}
		all = append(all, l.start(o))
	}
	return all
}

func stop(all ...*node) {
	for _, n := range all {
		n.stop()
	}
	time.Sleep(time.Minute) // of the bubble: what memberlist still runs comes to its end
}

// living are the instances that a node counts, in order.
func (n *node) living() string {
	var living []string
	for _, s := range n.Peers() {
		if s.State == discovery.Alive || s.State == discovery.Suspect {
			living = append(living, s.Instance)
		}
	}
	return strings.Join(living, " ")
}

func (n *node) state(instance string) discovery.State {
	for _, s := range n.Peers() {
		if s.Instance == instance {
			return s.State
		}
	}
	return ""
}

func (n *node) refusals(reason string) uint64 {
	n.counts.mu.Lock()
	defer n.counts.mu.Unlock()
	return n.counts.refused[reason]
}

// within waits until all nodes agree that something is so, and returns how long it took.
func (l *lab) within(limit time.Duration, all []*node, what string, is func(*node) bool) time.Duration {
	l.Helper()
	began := time.Now()
	for {
		agreed := true
		for _, n := range all {
			agreed = agreed && is(n)
		}
		if agreed {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			for _, n := range all {
				l.Logf("%s sees %s", n.self.peer.Instance, n.living())
			}
			l.Fatalf("after %v: not %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func instances(first, last int) string {
	var all []string
	for n := first; n <= last; n++ {
		all = append(all, instance(n))
	}
	return strings.Join(all, " ")
}

func TestJoinLeaveDie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		all := l.nodes(1, 12)
		defer stop(all...)
		took := l.within(10*time.Second, all, "all together", func(n *node) bool { return n.living() == instances(1, 12) })
		t.Log("together after", took)
		for _, s := range all[9].Peers() {
			want := ""
			if s.Instance != instance(10) {
				want = "seeds 10.0.0.1:3987"
			}
			if s.Through != want || s.Mode != "gossip" || s.Since.IsZero() {
				t.Errorf("%+v: want it found through %q", s, want)
			}
		}
		names := discovery.Names("one.example", all[11].Peers())
		if got := names["api.internal.one.example"]; len(got) != 3 {
			t.Errorf("API addresses %v, want those of three masters", got)
		}

		all[1].stop() // as if killed: it does not leave
		rest := append([]*node{all[0]}, all[2:]...)
		took = l.within(20*time.Second, rest, "2 dead", func(n *node) bool { return n.state(instance(2)) == discovery.Dead })
		t.Log("dead after", took)
		names = discovery.Names("one.example", all[11].Peers())
		if got := names["api.internal.one.example"]; len(got) != 2 {
			t.Errorf("API addresses %v, want those of two masters", got)
		}

		if err := all[2].Leave(t.Context()); err != nil {
			t.Error(err)
		}
		rest = append([]*node{all[0]}, all[3:]...)
		took = l.within(5*time.Second, rest, "3 gone", func(n *node) bool { return n.state(instance(3)) == discovery.Left })
		t.Log("left after", took)
		all[2].stop()
		if err := all[2].Leave(t.Context()); err == nil {
			t.Error("left after it was closed")
		}

		time.Sleep(11 * time.Minute)
		for _, n := range rest {
			if n.state(instance(2)) != "" || n.state(instance(3)) != "" {
				t.Errorf("%s still shows what is gone for more than 10 minutes", n.self.peer.Instance)
			}
		}
	})
}
