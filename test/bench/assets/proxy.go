package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	latency = 50 * time.Millisecond
	// cutEvery is which request finds its connection reset. Both clients keep connections open, so one connection in a
	// hundred would be none. It is reset before the answer begins: awscli 2.9 gives up when it is cut later.
	cutEvery = 100
)

// flakyProxy forwards TCP connections to an HTTP server with a longer round trip, and resets some.
type flakyProxy struct {
	listener net.Listener
	target   string
	requests atomic.Int64
	resets   atomic.Int64

	mu    sync.Mutex
	open  map[net.Conn]bool
	ended sync.WaitGroup
}

func startProxy(target string) (*flakyProxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &flakyProxy{listener: listener, target: target, open: make(map[net.Conn]bool)}
	p.ended.Go(p.accept)
	return p, nil
}

func (p *flakyProxy) Addr() string { return p.listener.Addr().String() }

// Close ends the proxy and every connection through it.
func (p *flakyProxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.ended.Wait()
}

func (p *flakyProxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.ended.Go(func() { p.forward(conn.(*net.TCPConn)) })
	}
}

func (p *flakyProxy) forward(client *net.TCPConn) {
	defer p.track(client)()
	time.Sleep(latency) // the handshake's round trip
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.track(server)()
	var both sync.WaitGroup
	both.Go(func() {
		if errors.Is(p.requested(server, client), errReset) {
			_ = client.SetLinger(0) // so that closing it is a reset
			client.Close()
		}
		server.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(client, server) // in the kernel, so that the proxy takes little of the CPU that is measured
		client.Close()
	})
	both.Wait()
}

var errReset = errors.New("reset")

// requested forwards requests. They alone are late: a round trip takes as long as if half of it were the answer's.
func (p *flakyProxy) requested(to, from net.Conn) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(buf[:n], []byte("GET ")) || bytes.HasPrefix(buf[:n], []byte("HEAD ")) {
			time.Sleep(latency)
			if p.requests.Add(1)%cutEvery == 0 {
				p.resets.Add(1)
				return errReset
			}
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return err
		}
	}
}

func (p *flakyProxy) track(c net.Conn) (done func()) {
	p.mu.Lock()
	p.open[c] = true
	p.mu.Unlock()
	return func() {
		c.Close()
		p.mu.Lock()
		delete(p.open, c)
		p.mu.Unlock()
	}
}
