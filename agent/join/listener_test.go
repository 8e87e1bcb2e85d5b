package join

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// from is a connection in memory that comes from an address.
type from struct {
	net.Conn
	address netip.Addr
}

func (c from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.address, 40000))
}

// connect reaches a listener from an address, and returns the client's end.
func connect(t *testing.T, l *listener, address netip.Addr) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	l.conns <- from{there, address}
	client := newBuffered(here)
	t.Cleanup(func() { client.Close() })
	return client
}

// TestSlotsEnd: whoever has a connection has it for a time. Those who wait get theirs then, in order.
func TestSlotsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{conns: make(chan net.Conn, 8), done: make(chan struct{})}
		r := newRoom(Limits{Connections: 2, PerAddress: 2}.withDefaults())
		limited := newLimited(l, r, func(a netip.Addr) { t.Errorf("%s was refused", a) })
		began := time.Now()
		for n := range 4 {
			connect(t, l, netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}))
		}
		for n, want := range []time.Duration{0, 0, r.life, r.life} {
			conn, err := limited.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != want || addressOf(conn.RemoteAddr().String()).As4()[3] != byte(n) {
				t.Errorf("connection %d: %s after %s, want %s", n, conn.RemoteAddr(), took, want)
			}
			go func() {
				_, _ = io.Copy(io.Discard, conn) // a server that its client keeps busy for ever
				conn.Close()
			}()
		}
		time.Sleep(r.life)
		synctest.Wait()
		if len(r.slots) != 0 || len(r.open) != 0 {
			t.Errorf("%d slots are taken, by %v", len(r.slots), r.open)
		}
	})
}

// TestAcceptEnds though it waits for room.
func TestAcceptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{conns: make(chan net.Conn, 8), done: make(chan struct{})}
		r := newRoom(Limits{Connections: 1}.withDefaults())
		limited := newLimited(l, r, func(netip.Addr) {})
		connect(t, l, netip.MustParseAddr("10.0.0.1"))
		second := connect(t, l, netip.MustParseAddr("10.0.0.2"))
		first, err := limited.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { _, err := limited.Accept(); ended <- err }()
		synctest.Wait()
		limited.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if _, err := second.Read(make([]byte, 1)); err == nil {
			t.Error("the connection that waited is still open")
		}
		first.Close()
		if len(r.slots) != 0 || len(r.open) != 0 {
			t.Errorf("%d slots are taken, by %v", len(r.slots), r.open)
		}
	})
}

// TestSilentCrowd: many addresses that take all connections there are, and say nothing, keep a node waiting for as long
// as a handshake may take. Another crowd of one address does not: it is sent away.
func TestSilentCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaster(t)
		m.authority = makeAuthority(time.Now())
		l := &listener{conns: make(chan net.Conn, 1024), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Serve(ctx, []net.Listener{l}, m.certificate(t)) }()
		limits := Limits{}.withDefaults()
		address := netip.MustParseAddr("10.1.0.0")
		for range limits.Connections / limits.PerAddress {
			address = address.Next()
			for range limits.PerAddress {
				connect(t, l, address)
			}
		}
		for range 500 {
			connect(t, l, address)
		}
		began := time.Now()
		node := tls.Client(connect(t, l, netip.MustParseAddr(theAddress)), m.tls(tls.VersionTLS13))
		if err := node.Handshake(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != headerTime {
			t.Errorf("a node waited for %s, want %s", took, headerTime)
		}
		node.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
