// Package gossip is membership: who of the cluster's nodes is alive, and what each says of itself, on every node within
// seconds, with nobody in the middle. It is hashicorp/memberlist, with what memberlist leaves to its user: a transport that
// refuses and counts strangers (guard.go), metadata (meta.go), keys that can be replaced (keyring.go), peers that are looked
// for until a split is healed (heal.go) and kept across restarts (known.go).
//
// To add a field that nodes tell about themselves: a tag in meta.go, and the field in discovery.Peer.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rekindle/agent/discovery"
)

// Options are what a node needs to take part.
type Options struct {
	Cluster string // its name; nodes of another one are refused
	Self    discovery.Peer
	Bind    netip.Addr // where to listen; the unspecified address: everywhere
	Port    int        // of UDP and TCP, here and on the others; 0: DefaultPort
	// Advertise is where others reach this node's gossip. Required when Bind is unspecified; otherwise Bind by default.
	Advertise netip.Addr
	Keys      Keyring
	// State is the file that keeps the last peers for the next start; "": none is kept.
	State string
	// Seeds finds addresses to join at: it is asked at the start, often while this node is alone, and every few minutes.
	// Nil: there is nothing but State and Join.
	Seeds    func(context.Context) []Seed
	Logger   *slog.Logger          // nil: none
	Registry prometheus.Registerer // nil: none
	// Transport replaces the sockets, for tests and benchmarks.
	Transport memberlist.NodeAwareTransport
}

// Seed is an address where a node of the cluster may be.
type Seed struct {
	At      netip.AddrPort // of its gossip
	Through string         // how it was found: "disk", "seeds", "tags" or "static"
}

// Gossip is this node's part. Its methods are safe for concurrent use.
type Gossip struct {
	cluster string
	port    int
	state   string
	seeds   func(context.Context) []Seed
	log     *slog.Logger
	at      netip.AddrPort

	list    *memberlist.Memberlist
	guard   *guard
	opener  *opener
	members *members
	counts  *counts
	unknown func() // takes the metrics back

	announce chan struct{} // this node has news of itself
	claim    chan struct{} // others have this instance at another address

	mu      sync.Mutex // of what follows; not held while memberlist is called
	self    meta
	encoded []byte                   // self
	disk    map[netip.AddrPort]known // of the last process, until they answer

	saying sync.Mutex // held while memberlist is told to announce this node
	left   bool

	life    sync.RWMutex // held to read while memberlist is called from outside, to write by Close
	closed  bool
	joining sync.WaitGroup
}

// Start listens. The caller must Run what it returns, or Close it. It refuses to start without a key.
func Start(o Options) (*Gossip, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g := &Gossip{
		cluster: o.Cluster, port: o.Port, state: o.State, seeds: o.Seeds, log: o.Logger,
		at:       netip.AddrPortFrom(o.Advertise, uint16(o.Port)),
		announce: make(chan struct{}, 1), claim: make(chan struct{}, 1),
		self: meta{peer: o.Self, run: rand.Uint32()},
	}
	var err error
	if g.encoded, err = g.self.encode(g.cluster); err != nil {
		return nil, fmt.Errorf("gossip: self: %w", err)
	}
	if g.opener, err = newOpener(o.Cluster, o.Keys); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g.disk = g.load()
	g.counts = newCounts(g)
	g.members = newMembers(g.cluster, o.Self.Instance, g.counts.refuse)
	g.members.conflicted = func() { signal(g.claim) }
	c := config(o, g.opener, g.members)
	c.Delegate = delegate{g}
	inner, dial := o.Transport, dialWith(o.Transport)
	if inner == nil {
		sockets, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{c.BindAddr}, BindPort: c.BindPort, Logger: c.Logger,
		})
		if err != nil {
			return nil, fmt.Errorf("gossip: listen on %s port %d: %w", c.BindAddr, c.BindPort, err)
		}
		inner, dial = sockets, dialTCP
	}
	g.guard = newGuard(inner, dial, g.opener, g.counts.refuse)
	c.Transport = g.guard
	if g.list, err = memberlist.Create(c); err != nil {
		return nil, errors.Join(fmt.Errorf("gossip: %w", err), g.guard.Shutdown())
	}
	if g.unknown, err = g.counts.register(o.Registry); err != nil {
		return nil, errors.Join(fmt.Errorf("gossip: metrics: %w", err), g.Close())
	}
	return g, nil
}

// complete fills in what has a default and says what is missing.
func (o *Options) complete() error {
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if !o.Advertise.IsValid() {
		o.Advertise = o.Bind
	}
	switch {
	case o.Cluster == "" || len(o.Cluster) > memberlist.LabelMaxSize:
		return fmt.Errorf("cluster %q: must have 1 to %d bytes", o.Cluster, memberlist.LabelMaxSize)
	case o.Port < 0 || o.Port > 65535:
		return fmt.Errorf("port %d: must be 0 to 65535", o.Port)
	case !o.Bind.IsValid():
		return errors.New("no address to listen on")
	}
	if err := checkAddress(o.Advertise); err != nil {
		return fmt.Errorf("advertise: %w", err)
	}
	if !slices.Contains(o.Self.Addresses, o.Advertise) {
		return fmt.Errorf("advertise: %s is none of the node's addresses", o.Advertise)
	}
	return o.Keys.check()
}

// Run takes part until ctx ends: it joins the seeds and the peers on disk, looks for peers that are missing, and tells the
// others what Update said. Then it closes, without leaving: for the others this node is dead, unless it starts again
// within seconds, as it does when the agent is restarted.
func (g *Gossip) Run(ctx context.Context) error {
	var running errgroup.Group
	running.Go(func() error { g.heal(ctx); return nil })
	running.Go(func() error { g.exchange(ctx); return nil })
	running.Go(func() error { g.announcing(ctx); return nil })
	running.Go(func() error { g.asking(ctx); return nil })
	return errors.Join(running.Wait(), g.Close())
}

// Close ends everything that Start began. It may be called more than once.
func (g *Gossip) Close() error {
	err := g.guard.Shutdown() // first, as it ends what Join waits for
	g.life.Lock()
	defer g.life.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	if g.unknown != nil {
		g.unknown()
	}
	err = errors.Join(err, g.list.Shutdown())
	g.joining.Wait()
	return err
}

// Peers are the living nodes, this one among them, and those that died or left in the last 10 minutes; by instance.
func (g *Gossip) Peers() []discovery.Sighting { return g.members.sightings() }

// Living is how many of Peers count, this node among them.
func (g *Gossip) Living() int { return g.members.alive() + 1 }

// Changed has a value when Peers is different from what it was before the last value was taken. It is meant for one
// reader.
func (g *Gossip) Changed() <-chan struct{} { return g.members.changed }

// SetKeys replaces the keys, from the next message on; see Keyring for the order in which a cluster does it.
func (g *Gossip) SetKeys(r Keyring) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return g.opener.set(r)
}

var errClosed = errors.New("gossip: closed already")

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// String is how a seed is named in discovery.Sighting.Through.
func (s Seed) String() string { return strings.TrimSpace(s.Through + " " + s.At.String()) }
