package gossip

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	streamSlots   = 32              // connections that are read at once; each holds maxStreamBody at most
	slotWait      = 2 * time.Second // that the next one waits for its turn
	streamTimeout = 5 * time.Second // until a connection said what it wants
)

// guard is a transport that lets nothing through to memberlist but what a node of this cluster sealed: strangers reach
// none of memberlist's parsers, and what is refused is counted, which memberlist only logs.
type guard struct {
	memberlist.NodeAwareTransport
	dial    dialer
	opener  *opener
	refused func(reason string, from net.Addr)

	packets chan *memberlist.Packet
	streams chan net.Conn
	open    context.Context // ends with Shutdown: what still comes is dropped
	stop    context.CancelFunc
	drained chan struct{} // closed when the inner transport is down: nothing comes any more
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once closed

	sent, received atomic.Uint64 // bytes, without the headers of the network
}

// dialer connects until ctx ends.
type dialer func(ctx context.Context, to memberlist.Address) (net.Conn, error)

func dialTCP(ctx context.Context, to memberlist.Address) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.Addr)
}

func dialWith(inner memberlist.NodeAwareTransport) dialer {
	return func(ctx context.Context, to memberlist.Address) (net.Conn, error) {
		deadline, _ := ctx.Deadline()
		return inner.DialAddressTimeout(to, time.Until(deadline))
	}
}

func newGuard(inner memberlist.NodeAwareTransport, dial dialer, o *opener, refused func(string, net.Addr)) *guard {
	g := &guard{
		NodeAwareTransport: inner, dial: dial, opener: o, refused: refused,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		drained: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	g.open, g.stop = context.WithCancel(context.Background())
	g.running.Go(g.readPackets)
	g.running.Go(g.readStreams)
	return g
}

// PacketCh implements memberlist.Transport.
func (g *guard) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh implements memberlist.Transport.
func (g *guard) StreamCh() <-chan net.Conn { return g.streams }

// WriteTo implements memberlist.Transport.
func (g *guard) WriteTo(data []byte, to string) (time.Time, error) {
	return g.WriteToAddress(data, memberlist.Address{Addr: to})
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (g *guard) WriteToAddress(data []byte, to memberlist.Address) (time.Time, error) {
	g.sent.Add(uint64(len(data)))
	return g.NodeAwareTransport.WriteToAddress(data, to)
}

// DialTimeout implements memberlist.Transport.
func (g *guard) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	return g.DialAddressTimeout(memberlist.Address{Addr: to}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (g *guard) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout) // memberlist has none
	defer cancel()
	defer context.AfterFunc(g.open, cancel)()
	c, err := g.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	return g.track(c)
}

// Shutdown implements memberlist.Transport: it ends every connection and returns when nothing runs any more.
func (g *guard) Shutdown() error {
	g.mu.Lock()
	conns := g.conns
	g.conns = nil
	g.mu.Unlock()
	if conns == nil {
		return nil
	}
	g.stop()
	for c := range conns {
		_ = c.Close() // memberlist's business is over
	}
	err := g.NodeAwareTransport.Shutdown() // waits until we took what it has
	close(g.drained)
	g.running.Wait()
	return err
}

func (g *guard) readPackets() {
	for {
		select {
		case p := <-g.NodeAwareTransport.PacketCh():
			g.received.Add(uint64(len(p.Buf)))
			if reason := g.opener.packet(p.Buf); reason != "" {
				g.refused(reason, p.From)
				continue
			}
			p.Buf = slices.Clone(p.Buf) // the sockets' transport hands over 64 KiB, however short the packet
			select {
			case g.packets <- p:
			case <-g.open.Done():
			}
		case <-g.drained:
			return
		}
	}
}

func (g *guard) readStreams() {
	slots := make(chan struct{}, streamSlots)
	for {
		select {
		case c := <-g.NodeAwareTransport.StreamCh():
			select {
			case slots <- struct{}{}:
				g.running.Go(func() {
					defer func() { <-slots }()
					g.admit(c)
				})
			case <-time.After(slotWait):
				g.refused(refusedBusy, c.RemoteAddr())
				_ = c.Close()
			case <-g.open.Done():
				_ = c.Close()
			}
		case <-g.drained:
			return
		}
	}
}

// admit reads all that a connection has to say first, and hands it to memberlist when a node of the cluster sealed it.
func (g *guard) admit(c net.Conn) {
	tracked, err := g.track(c)
	if err != nil {
		return
	}
	said, reason := g.read(tracked)
	if reason != "" {
		if reason != hungUp {
			g.refused(reason, c.RemoteAddr())
		}
		_ = tracked.Close()
		return
	}
	select {
	case g.streams <- &rewound{Conn: tracked, said: bytes.NewReader(said)}:
	case <-g.open.Done():
	}
}

// hungUp is no refusal: whoever connected said nothing, as health checks do.
const hungUp = "hung up"

// read returns the bytes of the first message of a stream, or why it is refused.
func (g *guard) read(c net.Conn) (said []byte, reason string) {
	if err := c.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return nil, refusedMalformed
	}
	label := make([]byte, 2, 512)
	if n, err := io.ReadFull(c, label); err != nil {
		if n == 0 {
			return nil, hungUp
		}
		return nil, refusedMalformed
	}
	if label[0] != labelByte {
		return nil, refusedLabel
	}
	said = label[:2+int(label[1])]
	if _, err := io.ReadFull(c, said[2:]); err != nil {
		return nil, refusedMalformed
	}
	if string(said[2:]) != g.opener.label {
		return nil, refusedLabel
	}
	header := make([]byte, streamHeader)
	if _, err := io.ReadFull(c, header); err != nil {
		return nil, refusedMalformed
	}
	size := streamSize(header)
	if size == 0 {
		return nil, refusedMalformed
	}
	message := bytes.NewBuffer(header)
	// Grows with what arrives, not with what is announced.
	if n, err := io.CopyN(message, c, int64(size)); err != nil || n != int64(size) {
		return nil, refusedMalformed
	}
	return append(said, message.Bytes()...), g.opener.stream(message.Bytes())
}

// track remembers a connection until it is closed.
func (g *guard) track(c net.Conn) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		_ = c.Close()
		return nil, errors.New("gossip is closed")
	}
	t := &trackedConn{Conn: c, guard: g}
	g.conns[t] = struct{}{}
	return t, nil
}

type trackedConn struct {
	net.Conn
	guard *guard
}

func (c *trackedConn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	c.guard.received.Add(uint64(n))
	return n, err
}

func (c *trackedConn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	c.guard.sent.Add(uint64(n))
	return n, err
}

func (c *trackedConn) Close() error {
	c.guard.mu.Lock()
	delete(c.guard.conns, c)
	c.guard.mu.Unlock()
	return c.Conn.Close()
}

// rewound is a connection of which admit read the first bytes.
type rewound struct {
	net.Conn
	said *bytes.Reader
}

func (c *rewound) Read(data []byte) (int, error) {
	if c.said.Len() > 0 {
		return c.said.Read(data)
	}
	return c.Conn.Read(data)
}
