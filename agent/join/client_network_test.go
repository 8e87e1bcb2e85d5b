package join

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	clientCluster  = "prod.example"
	clientInstance = "i-0123456789abcdef0"
)

// network is what a client dials, by address: connections in memory, so that the clock of a synctest bubble counts.
type network struct {
	mu     sync.Mutex
	listen map[string]func(ctx context.Context) (net.Conn, error)
	dialed []string
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, address)
	open := n.listen[address]
	n.mu.Unlock()
	if open == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return open(ctx)
}

func (n *network) put(address string, open func(context.Context) (net.Conn, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listen[address] = open
}

// hole answers nothing at all, as behind a security group.
func hole(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }

// mute takes connections and says nothing, as a stopped process.
func mute(t *testing.T) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = there.Close() })
		go func() { _, _ = io.Copy(io.Discard, there) }()
		return here, nil
	}
}

// buffered is an end of a connection in memory whose writes do not wait for the reader: TLS needs that.
type buffered struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	out    chan []byte
}

func newBuffered(conn net.Conn) net.Conn {
	b := &buffered{Conn: conn, out: make(chan []byte, 1000)}
	go func() {
		for data := range b.out {
			if _, err := conn.Write(data); err != nil {
				break
			}
		}
		_ = conn.Close()
	}()
	return b
}

func (b *buffered) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	b.out <- bytes.Clone(data)
	return len(data), nil
}

func (b *buffered) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		_ = b.SetDeadline(time.Now().Add(time.Millisecond)) // what was written may still be read
		close(b.out)
	}
	return nil
}

// listener hands out the server's ends of connections in memory.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return newBuffered(c), nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }
func (l *listener) open(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return newBuffered(here), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
