package apiproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rekindle/agent/discovery"
)

func TestCarriesToMastersThatAnswer(t *testing.T) {
	a, b, dead := newMaster(t, "ma"), newMaster(t, "mb"), newMaster(t, "mx")
	dead.kill()
	r := start(t, Options{}, a, b, dead)
	r.state(dead, Down)
	r.state(a, Up)
	r.state(b, Up)
	reached := map[string]int{}
	for range 30 {
		_, name := r.connect()
		reached[name]++
	}
	// Of two the one with fewer connections is taken, so they share.
	if reached["ma"] != 15 || reached["mb"] != 15 {
		t.Errorf("reached %v", reached)
	}
	if got := r.counter("connections_open", "ma"); got != 15 {
		t.Errorf("%v open connections", got)
	}
	if got := r.counter("dial_seconds", ""); got != 30 {
		t.Errorf("%v dials", got)
	}
}

// A connection is carried before anything was checked, past masters that refuse it.
func TestFirstConnection(t *testing.T) {
	a, dead := newMaster(t, "ma"), newMaster(t, "mx")
	dead.kill()
	dead.name = "m0"
	r := start(t, Options{Interval: time.Hour, Ready: time.Hour}, dead, a)
	for range 20 {
		if _, name := r.connect(); name != "ma" {
			t.Fatal(name)
		}
	}
}

func TestCountsBytes(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{}, a)
	conn, _ := r.connect()
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(conn)
		got <- all
	}()
	if _, err := conn.Write(block); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, block) {
		t.Error("other bytes came back")
	}
	sent := float64(1 + len(block))
	eventually(t, "bytes are counted", func() bool {
		return r.counter("bytes_total", "sent") == sent && r.counter("bytes_total", "received") == sent+2
	})
}

// The end of one way reaches the other side while the other way goes on, whichever ends first.
func TestHalfClose(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		a := newMaster(t, "ma")
		a.raw = func(conn *net.TCPConn) {
			_, _ = conn.Write([]byte("ma"))
			all, _ := io.ReadAll(conn) // returns when the client's end came through
			_, _ = conn.Write(append([]byte("heard "), all...))
		}
		conn, _ := start(t, Options{}, a).connect()
		_, err := conn.Write([]byte("all"))
		if err := errors.Join(err, conn.CloseWrite()); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err != nil || string(answer) != "heard all" {
			t.Errorf("%q, %v", answer, err)
		}
	})
	t.Run("master", func(t *testing.T) {
		a := newMaster(t, "ma")
		heard := make(chan []byte, 1)
		a.raw = func(conn *net.TCPConn) {
			_, _ = conn.Write([]byte("ma"))
			_ = conn.CloseWrite()
			all, _ := io.ReadAll(conn)
			heard <- all
		}
		conn, _ := start(t, Options{}, a).connect()
		if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
			t.Fatalf("%q, %v", rest, err)
		}
		_, err := conn.Write([]byte("still here"))
		if err := errors.Join(err, conn.Close()); err != nil {
			t.Fatal(err)
		}
		if got := string(<-heard); got != "still here" {
			t.Error(got)
		}
	})
}

// A side that breaks breaks the other, as an end of the stream could be taken for a whole answer.
func TestResetIsPassedOn(t *testing.T) {
	a := newMaster(t, "ma")
	conns := make(chan *net.TCPConn, 1)
	a.raw = func(conn *net.TCPConn) {
		_, _ = conn.Write([]byte("ma"))
		conns <- conn
		_, _ = io.Copy(io.Discard, conn)
	}
	r := start(t, Options{}, a)
	conn, _ := r.connect()
	reset(<-conns)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	eventually(t, "the loss is counted", func() bool { return r.counter("failures_total", failLost) == 1 })
}

func TestAMasterThatAcceptsNothing(t *testing.T) {
	a := newMaster(t, "ma")
	hole := blackHole(t)
	r := start(t, Options{Timeout: limit}, a)
	// The hole is tried first: the other is about to stop, and checks take their time here.
	last := a.backend()
	last.Health = discovery.Leaving
	r.SetBackends([]Backend{{Instance: "hole", Address: hole, Health: discovery.Healthy}, last})
	if _, name := r.connect(); name != "ma" {
		t.Fatal(name)
	}
	if n := r.counter("failures_total", failTimeout); n != 0 {
		t.Errorf("the other master had to wait for %v attempts to time out", n)
	}
}

// blackHole is an address that answers no SYN: the queue of its socket is full.
func blackHole(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port))
	for {
		conn, err := net.DialTimeout("tcp", at.String(), 100*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// With no master that answers, clients wait for one.
func TestNoneAnswers(t *testing.T) {
	a := newMaster(t, "ma")
	at := a.listener.Addr().String()
	r := start(t, Options{DialTime: limit}, a)
	r.state(a, Up)
	a.vanish()
	r.state(a, Down)
	reached := make(chan string)
	go func() { _, name := r.connect(); reached <- name }()
	eventually(t, "the dial was refused", func() bool { return r.counter("failures_total", failRefused) > 1 })
	a.listen(at)
	if name := <-reached; name != "ma" {
		t.Error(name)
	}
}

// A master that is not ready is better than none.
func TestNoneReady(t *testing.T) {
	a := newMaster(t, "ma")
	a.ready.Store(false)
	r := start(t, Options{}, a)
	r.state(a, Unready)
	conn, _ := r.connect()
	if !says(conn, "hello") || r.of(a).Draining {
		t.Error("a connection was closed that cannot go elsewhere")
	}
}

func TestNobodyTakesIt(t *testing.T) {
	a := newMaster(t, "ma")
	a.kill()
	r := start(t, Options{DialTime: 100 * time.Millisecond}, a)
	conn, err := net.Dial("tcp", r.at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if n := r.counter("failures_total", failNoBackend); n != 1 {
		t.Errorf("counted %v", n)
	}
}

func TestNeverToItself(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{}, a)
	r.state(a, Up)
	self := Backend{Instance: "self", Address: netip.MustParseAddrPort(r.at), Health: discovery.Healthy}
	r.SetBackends([]Backend{self, a.backend()})
	if n := len(r.Status().Backends); n != 1 {
		t.Errorf("%d backends", n)
	}
	early := New(Options{})
	listener, err := Listeners(t.Context(), "none", netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener[0].Close()
	own := Backend{Instance: "own", Address: listener[0].Addr().(*net.TCPAddr).AddrPort()}
	early.SetBackends([]Backend{own, a.backend()})
	ctx, cancel := context.WithCancel(t.Context())
	early.begin(ctx, listener)
	if n := len(early.Status().Backends); n != 1 {
		t.Errorf("%d backends", n)
	}
	cancel()
	early.end()
	port := self.Address.Port()
	for _, c := range []struct {
		own, to string
		want    bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "::ffff:127.0.0.1", true},
		{"127.0.0.1", "0.0.0.0", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"::", "127.0.0.2", true},
		{"::", "192.0.2.1", false},
	} {
		p := New(Options{})
		p.own = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(c.own), port)}
		if got := p.isOwn(Backend{Address: netip.AddrPortFrom(netip.MustParseAddr(c.to), port)}); got != c.want {
			t.Errorf("listening at %s, to %s: %v", c.own, c.to, got)
		}
	}
}
