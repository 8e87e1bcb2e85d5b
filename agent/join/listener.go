package join

import (
	"net"
	"net/netip"
	"sync"
)

// limited is a listener with a bound for the open connections, in all and of one address. Those beyond are closed: nodes
// come back.
type limited struct {
	net.Listener
	total, each int
	refused     func(netip.Addr)

	mu   sync.Mutex
	all  int
	open map[netip.Addr]int
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(conn.RemoteAddr().String())
		if l.take(from) {
			return &counted{Conn: conn, done: sync.OnceFunc(func() { l.give(from) })}, nil
		}
		conn.Close()
		l.refused(from)
	}
}

func (l *limited) take(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.total || l.open[from] >= l.each {
		return false
	}
	l.all++
	l.open[from]++
	return true
}

func (l *limited) give(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

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
