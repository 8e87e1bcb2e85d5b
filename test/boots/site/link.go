package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Link forwards TCP connections to a server, and fails as links do. It counts what the server sent.
type Link struct {
	listener net.Listener
	to       string
	served   atomic.Int64
	cutAt    atomic.Int64 // total bytes after which the link is cut; 0: never
	wait     sync.WaitGroup

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
	cuts  int
	cut   chan struct{} // closed when cutAt was reached
}

// NewLink is a link to an address, up.
func NewLink(ctx context.Context, to string) (*Link, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	link := &Link{listener: l, to: to, conns: map[net.Conn]bool{}, cut: make(chan struct{})}
	link.wait.Go(link.accept)
	return link, nil
}

// Address is where the link begins.
func (l *Link) Address() string { return l.listener.Addr().String() }

// Served is how many bytes came from the server so far.
func (l *Link) Served() int64 { return l.served.Load() }

// Cut resets all connections, and those to come.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	l.cuts++
	for conn := range l.conns {
		reset(conn)
	}
}

// Drop resets all connections once; new ones are accepted.
func (l *Link) Drop() {
	l.Cut()
	l.Restore()
}

// Restore lets connections through again.
func (l *Link) Restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// CutAfter cuts the link once the server has sent so many bytes in all. The channel is closed then.
func (l *Link) CutAfter(bytes int64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = make(chan struct{})
	l.cutAt.Store(bytes)
	return l.cut
}

// Close ends the link and everything on it.
func (l *Link) Close() error {
	err := l.listener.Close()
	l.Cut()
	l.wait.Wait()
	return err
}

func (l *Link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.wait.Go(func() { l.forward(conn) })
	}
}

// hold registers a connection, unless the link is down.
func (l *Link) hold(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		reset(conn)
		return false
	}
	l.conns[conn] = true
	return true
}

func (l *Link) release(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	_ = conn.Close() // perhaps again
}

func (l *Link) forward(client net.Conn) {
	if !l.hold(client) {
		return
	}
	defer l.release(client)
	server, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	if !l.hold(server) {
		return
	}
	defer l.release(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client) // a cut link ends it
		if half, ok := server.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}()
	_, _ = io.Copy(&meter{l, client}, server)
	l.release(client) // so that the other direction ends
	<-done
}

// meter counts what the client is sent, and cuts the link when that is enough.
type meter struct {
	*Link
	client net.Conn
}

var errCut = errors.New("the link is cut")

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.client.Write(b)
	total := m.served.Add(int64(n))
	if limit := m.cutAt.Load(); limit > 0 && total >= limit && m.cutAt.CompareAndSwap(limit, 0) {
		m.Cut()
		close(m.cut)
		return n, errCut
	}
	return n, err
}

// reset closes a connection with a RST instead of a FIN: the peer sees a failure and no end of file.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
