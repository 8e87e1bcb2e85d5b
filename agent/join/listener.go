package join

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// room is what there is for connections: so many may be open, over all listeners, and so many of one address.
type room struct {
	slots chan struct{} // one in it for each that is open
	each  int
	life  time.Duration

	mu   sync.Mutex
	open map[netip.Addr]int
}

func newRoom(l Limits) *room {
	return &room{
		slots: make(chan struct{}, l.Connections), each: l.PerAddress, open: map[netip.Addr]int{},
		// All that a node may take for its two requests. Without an end to a connection there was none to the others' wait.
		life: 2*headerTime + idleTime + readTime + l.Deadline,
	}
}

// take counts a connection of an address, which the caller gives back.
func (r *room) take(from netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[from] >= r.each {
		return false
	}
	r.open[from]++
	return true
}

func (r *room) give(from netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[from]--; r.open[from] == 0 {
		delete(r.open, from)
	}
}

// limited is a listener that hands out connections while there is room.
//
// Those beyond it wait in the kernel's queue, in their order, where they cost neither memory nor a handshake: 2,000 nodes
// that start together are served one after the other, and none has to come again. Those beyond their address' share are
// closed at once, so that no address fills the queue for the others.
type limited struct {
	net.Listener
	room    *room
	refused func(netip.Addr)
	closed  chan struct{}
	once    sync.Once
}

func newLimited(l net.Listener, r *room, refused func(netip.Addr)) *limited {
	return &limited{Listener: l, room: r, refused: refused, closed: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(conn.RemoteAddr().String())
		if !l.room.take(from) {
			conn.Close()
			l.refused(from)
			continue
		}
		select {
		case l.room.slots <- struct{}{}:
			return l.count(conn, from), nil
		case <-l.closed:
			l.room.give(from)
			conn.Close()
			return nil, net.ErrClosed
		}
	}
}

// Close also ends an Accept that waits for room.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

func (l *limited) count(conn net.Conn, from netip.Addr) net.Conn {
	end := time.AfterFunc(l.room.life, func() { conn.Close() }) // whoever serves it learns of it, and closes it too
	return &counted{Conn: conn, done: sync.OnceFunc(func() {
		end.Stop()
		l.room.give(from)
		<-l.room.slots
	})}
}

// counted gives its room back when it is closed.
type counted struct {
	net.Conn
	done func()
}

func (c *counted) Close() error {
	defer c.done()
	return c.Conn.Close()
}

// addressOf is the address of "address:port", an IPv4 one in its own form, or none.
func addressOf(endpoint string) netip.Addr {
	ap, err := netip.ParseAddrPort(endpoint)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
