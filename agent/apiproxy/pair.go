package apiproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// pair is a client's connection and the one to the backend that it is carried by.
type pair struct {
	client, server *net.TCPConn
	sent, received prometheus.Counter // bytes
	moved          atomic.Int64       // bytes, both ways
	lost           atomic.Bool        // the backend's side broke
	over           sync.Once
}

// carry forwards until both sides ended or one broke. It tells whether it was the backend's.
func (c *pair) carry() (lost bool) {
	var back sync.WaitGroup
	back.Go(func() { c.copy(c.client, c.server, c.received) })
	c.copy(c.server, c.client, c.sent)
	back.Wait()
	c.close()
	return c.lost.Load()
}

// copy forwards one way, and the end of the stream after it. The other way goes on. The data stays in the kernel (splice):
// nothing may wrap the connections. Splice is told of bytes that are there, as it would hold a pipe while it waits:
// two descriptors and 10 kB for every idle connection and direction.
func (c *pair) copy(to, from *net.TCPConn, count prometheus.Counter) {
	wait, err := newWaiter(from)
	for err == nil {
		var n int
		if n, err = wait.readable(); err != nil {
			if from == c.server && !errors.Is(err, net.ErrClosed) {
				c.lost.Store(true)
			}
			break
		}
		if n == 0 {
			err = to.CloseWrite()
			break
		}
		var moved int64
		moved, err = to.ReadFrom(&io.LimitedReader{R: from, N: int64(n)})
		c.moved.Add(moved)
		count.Add(float64(moved))
	}
	if err != nil {
		c.reset()
	}
}

// reset closes both sides so that both see an error, and tells whether they were open.
func (c *pair) reset() (did bool) {
	c.over.Do(func() {
		reset(c.client)
		reset(c.server)
		did = true
	})
	return did
}

// close closes both sides so that both see the end, and tells whether they were open.
func (c *pair) close() (did bool) {
	c.over.Do(func() {
		_ = c.client.Close() // what is lost was lost before
		_ = c.server.Close()
		did = true
	})
	return did
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // fails on what is closed already
	_ = conn.Close()
}

// waiter waits for a connection's bytes without reading them.
type waiter struct {
	conn syscall.RawConn
	n    int
	err  error
}

func newWaiter(conn *net.TCPConn) (*waiter, error) {
	raw, err := conn.SyscallConn()
	return &waiter{conn: raw}, err
}

// readable waits until there is something to read and returns how many bytes; 0: the stream ended.
func (w *waiter) readable() (int, error) {
	if err := w.conn.Read(w.peek); err != nil {
		return 0, err
	}
	return w.n, w.err
}

// peek tells whether the wait is over.
func (w *waiter) peek(fd uintptr) bool {
	if w.n, w.err = unix.IoctlGetInt(int(fd), unix.SIOCINQ); w.n > 0 || w.err != nil {
		return true
	}
	// Nothing yet, the end, or an error?
	var one [1]byte
	for {
		w.n, _, w.err = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK)
		if !errors.Is(w.err, unix.EINTR) {
			return !errors.Is(w.err, unix.EAGAIN)
		}
	}
}
