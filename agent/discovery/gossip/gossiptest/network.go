// Package gossiptest is a network in memory for tests and benchmarks of gossip. Packets take time, get lost, and stop where
// a rule says so; within a bubble of testing/synctest hours pass at once.
package gossiptest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// What the real network adds, in bytes: IPv4 and UDP to a packet; TCP to a connection, and to each full segment.
	packetHeaders  = 28
	connHeaders    = 8 * 40
	segmentHeaders = 40
	segment        = 1448

	queue = 1024 // packets that a receiver has not read yet; what comes on top is lost, as with a socket
)

// Network connects the transports that it made. Its fields are set before the first of them is.
type Network struct {
	// Latency is of one way; each packet takes between half and one and a half of it.
	Latency time.Duration
	// Tick, if any, delays packets to the next multiple of it. Many arrive at once then, and a bubble of synctest, which
	// begins anew at each moment at which something happens, has fewer of those and work for all processors.
	Tick time.Duration
	// Loss is the part of the packets, 0 to 1, that get lost.
	Loss float64
	// Packet sees each packet that is sent; nil: nobody does.
	Packet func(from, to netip.AddrPort, data []byte)

	mu      sync.RWMutex
	nodes   map[netip.AddrPort]*Transport
	blocked func(from, to netip.AddrPort) bool
	lost    func(data []byte) bool

	underWay sync.Mutex
	due      map[time.Time][]delivery // with Tick: by when they arrive
}

// delivery is a packet under way.
type delivery struct {
	to     *Transport
	packet *memberlist.Packet
}

// Block drops what a rule is true of, in its direction, until the next call; nil: nothing. Connections that are open stay.
func (n *Network) Block(rule func(from, to netip.AddrPort) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocked = rule
}

// Lose drops packets of which a rule is true, until the next call; nil: none. Connections are not concerned.
func (n *Network) Lose(rule func(data []byte) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = rule
}

// Transport is one node's end. It implements memberlist.NodeAwareTransport.
type Transport struct {
	network *Network
	at      netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	down    chan struct{}
	once    sync.Once

	bytes atomic.Uint64
}

// Transport is a new node's end. An address may be used again once its transport is down.
func (n *Network) Transport(at netip.AddrPort) *Transport {
	t := &Transport{
		network: n, at: at, packets: make(chan *memberlist.Packet, queue), streams: make(chan net.Conn),
		down: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes == nil {
		n.nodes = map[netip.AddrPort]*Transport{}
	}
	n.nodes[at] = t
	return t
}

// Send delivers a packet to a node, from any address.
func (n *Network) Send(from, to netip.AddrPort, data []byte) {
	peer, open := n.route(from, to)
	if !open || peer == nil || n.Loss > 0 && rand.Float64() < n.Loss || n.loses(data) {
		return
	}
	d := delivery{peer, &memberlist.Packet{Buf: data, From: net.UDPAddrFromAddrPort(from)}}
	if n.Tick == 0 {
		time.AfterFunc(n.latency(), d.arrive)
		return
	}
	at := time.Now().Add(n.latency()).Truncate(n.Tick).Add(n.Tick)
	n.underWay.Lock()
	defer n.underWay.Unlock()
	if n.due == nil {
		n.due = map[time.Time][]delivery{}
	}
	if n.due[at] = append(n.due[at], d); len(n.due[at]) > 1 {
		return
	}
	time.AfterFunc(time.Until(at), func() {
		n.underWay.Lock()
		all := n.due[at]
		delete(n.due, at)
		n.underWay.Unlock()
		for _, d := range all {
			d.arrive()
		}
	})
}

func (d delivery) arrive() {
	d.packet.Timestamp = time.Now()
	d.to.bytes.Add(uint64(len(d.packet.Buf) + packetHeaders))
	select {
	case d.to.packets <- d.packet:
	default:
	}
}

func (n *Network) loses(data []byte) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.lost != nil && n.lost(data)
}

func (n *Network) latency() time.Duration {
	return n.Latency/2 + rand.N(n.Latency+1)
}

// route is the node at an address, nil when there is none, and whether the way is open.
func (n *Network) route(from, to netip.AddrPort) (*Transport, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.nodes[to], n.blocked == nil || !n.blocked(from, to)
}

// Bytes are those sent and received so far, with the headers that a real network would add.
func (t *Transport) Bytes() uint64 { return t.bytes.Load() }

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.at.Addr().AsSlice(), int(t.at.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (t *Transport) WriteTo(data []byte, to string) (time.Time, error) {
	at, err := netip.ParseAddrPort(to)
	if err != nil {
		return time.Time{}, err
	}
	select {
	case <-t.down:
		return time.Time{}, net.ErrClosed
	default:
	}
	t.bytes.Add(uint64(len(data) + packetHeaders))
	if t.network.Packet != nil {
		t.network.Packet(t.at, at, data)
	}
	t.network.Send(t.at, at, data)
	return time.Now(), nil
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *Transport) WriteToAddress(data []byte, to memberlist.Address) (time.Time, error) {
	return t.WriteTo(data, to.Addr)
}

// PacketCh implements memberlist.Transport.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout implements memberlist.Transport: refused at once where nobody listens, silent where a rule drops packets.
func (t *Transport) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	at, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, err
	}
	peer, open := t.network.route(t.at, at)
	_, back := t.network.route(at, t.at)
	late := time.NewTimer(timeout)
	defer late.Stop()
	if !open || !back {
		select {
		case <-late.C:
			return nil, fmt.Errorf("dial %s: timed out", to)
		case <-t.down:
			return nil, net.ErrClosed
		}
	}
	if peer == nil {
		return nil, fmt.Errorf("dial %s: refused", to)
	}
	near, far := net.Pipe()
	select {
	case peer.streams <- &conn{Conn: far, local: peer, remote: t}:
		t.bytes.Add(connHeaders)
		peer.bytes.Add(connHeaders)
		return &conn{Conn: near, local: t, remote: peer}, nil
	case <-late.C:
		err = fmt.Errorf("dial %s: timed out", to)
	case <-t.down:
		err = net.ErrClosed
	case <-peer.down:
		err = fmt.Errorf("dial %s: refused", to)
	}
	return nil, errors.Join(err, near.Close(), far.Close())
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *Transport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(to.Addr, timeout)
}

// Shutdown implements memberlist.Transport.
func (t *Transport) Shutdown() error {
	t.once.Do(func() {
		t.network.mu.Lock()
		defer t.network.mu.Unlock()
		if t.network.nodes[t.at] == t {
			delete(t.network.nodes, t.at)
		}
		close(t.down)
	})
	return nil
}

// conn counts what is written, at both ends.
type conn struct {
	net.Conn
	local, remote *Transport
}

func (c *conn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	all := uint64(n + (n+segment-1)/segment*segmentHeaders)
	c.local.bytes.Add(all)
	c.remote.bytes.Add(all)
	return n, err
}

func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote.at) }
