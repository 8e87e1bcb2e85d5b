package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/discovery/gossip/gossiptest"
)

const (
	cluster = "bench.internal.example.com"
	masters = 3
	latency = 500 * time.Microsecond
	tick    = 500 * time.Microsecond
)

// bubbles runs f, which is given what runs a function where time passes only while nobody computes. That is to be had by
// tests alone, so this program is one; it exits when f is done.
func bubbles(f func(bubble func(func() error) error) error) {
	testing.Init()
	_ = flag.CommandLine.Parse(nil) // the arguments are pflag's; nothing is left to go wrong
	testing.Main(regexp.MatchString, []testing.InternalTest{{Name: "gossip", F: func(t *testing.T) {
		err := f(func(inside func() error) (err error) {
			synctest.Test(t, func(*testing.T) { err = inside() })
			return err
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench-gossip:", err)
			t.Fail()
		}
	}}}, nil, nil)
}

// node is one of the cluster.
type node struct {
	*gossip.Gossip
	name      string
	transport *gossiptest.Transport
	began     time.Time
	cancel    context.CancelFunc
	done      chan error
}

// nodes are a cluster in memory.
type nodes struct {
	network *gossiptest.Network
	keys    gossip.Keyring
	seeds   func(context.Context) []gossip.Seed // of those that start
	all     []*node
	started int
}

func newNodes() *nodes {
	return &nodes{network: &gossiptest.Network{Latency: latency, Tick: tick}, keys: gossip.NewKeyring(time.Now()), seeds: seeds}
}

func address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), gossip.DefaultPort)
}

// seeds are the first masters, in any order, as a node finds them in the store.
func seeds(context.Context) []gossip.Seed {
	var all []gossip.Seed
	for _, n := range rand.Perm(masters) {
		all = append(all, gossip.Seed{At: address(n + 1), Through: "seeds"})
	}
	return all
}

// start adds a node, with names as long as EC2's.
func (c *nodes) start(ctx context.Context, master bool) (*node, error) {
	c.started++
	at := address(c.started)
	self := discovery.Peer{
		Instance: fmt.Sprintf("i-%017x", c.started), Node: fmt.Sprintf("ip-10-0-%d-%d.cn-northwest-1.compute.internal",
			c.started>>8, c.started&255), Role: "minion", Zone: "cn-northwest-1a", Version: "v1.12.3",
		Addresses: []netip.Addr{at.Addr()},
	}
	if master {
		self.Role, self.APIPort, self.API, self.Etcd = "master", 6443, discovery.Healthy, discovery.Healthy
	}
	n := &node{name: self.Instance, transport: c.network.Transport(at), began: time.Now(), done: make(chan error, 1)}
	g, err := gossip.Start(gossip.Options{
		Cluster: cluster, Self: self, Bind: at.Addr(), Keys: c.keys, Seeds: c.seeds, Transport: n.transport,
	})
	if err != nil {
		return nil, err
	}
	n.Gossip = g
	ctx, n.cancel = context.WithCancel(ctx)
	go func() { n.done <- g.Run(ctx) }()
	c.all = append(c.all, n)
	return n, nil
}

// kill ends a node as a power cut does.
func (c *nodes) kill(n *node) error {
	n.cancel()
	err := <-n.done
	for i, other := range c.all {
		if other == n {
			c.all = append(c.all[:i:i], c.all[i+1:]...)
			break
		}
	}
	return err
}

// stop ends all nodes, and what memberlist still runs of them.
func (c *nodes) stop() error {
	var errs []error
	for _, n := range c.all {
		n.cancel()
	}
	for _, n := range c.all {
		errs = append(errs, <-n.done)
	}
	time.Sleep(time.Minute)
	return errors.Join(errs...)
}

// bytes are those sent and received by all nodes.
func (c *nodes) bytes() (total uint64) {
	for _, n := range c.all {
		total += n.transport.Bytes()
	}
	return total
}

// state is what a node thinks of an instance; "" when it does not know it.
func (n *node) state(instance string) discovery.State {
	for _, s := range n.Peers() {
		if s.Instance == instance {
			return s.State
		}
	}
	return ""
}

// masters is how many living masters a node knows.
func (n *node) masters() (known int) {
	for _, s := range n.Peers() {
		if s.State == discovery.Alive && s.APIPort != 0 {
			known++
		}
	}
	return known
}
