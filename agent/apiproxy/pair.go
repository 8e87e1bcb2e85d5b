package apiproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pair is a client's connection and the one to the backend that it is carried by.
type pair struct {
	client, server *net.TCPConn
	sent, received prometheus.Counter // bytes
	moved          atomic.Int64       // bytes, both ways
	heard          atomic.Int64       // when the backend sent some last, nanoseconds since 1970
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

// copy forwards one way, and the end of the stream after it. The other way goes on.
func (c *pair) copy(to, from *net.TCPConn, count prometheus.Counter) {
	s, err := newStream(to, from)
	for err == nil {
		var n int
		n, err = s.move()
		c.moved.Add(int64(n))
		if from == c.server {
			c.heard.Store(time.Now().UnixNano())
		}
		count.Add(float64(n))
	}
	if errors.Is(err, io.EOF) {
		err = to.CloseWrite()
	} else if s != nil && s.lost && from == c.server && !errors.Is(err, net.ErrClosed) {
		c.lost.Store(true)
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
