package host

import (
	"context"
	"crypto/rand"
	"net"
	"strings"
	"sync"
)

// notifySocket is the end of sd_notify(3) that a service manager holds. Its name is in the abstract namespace, since a
// path below a lab's root may be longer than the 108 bytes that a socket's name can have.
type notifySocket struct {
	name  string
	conn  *net.UnixConn
	ready chan struct{} // closed when READY=1 came
}

func newSocketName() string { return "@rekindle/notify/" + rand.Text() }

func (r *Processes) listen(name string) (*notifySocket, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	n := &notifySocket{name: name, conn: conn, ready: make(chan struct{})}
	stop := context.AfterFunc(r.ctx, n.Close)
	r.running.Go(func() {
		defer stop()
		n.receive()
	})
	return n, nil
}

func (n *notifySocket) receive() {
	ready := sync.OnceFunc(func() { close(n.ready) })
	buffer := make([]byte, 8<<10)
	for {
		count, err := n.conn.Read(buffer)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(buffer[:count])) {
			if strings.TrimSpace(line) == "READY=1" {
				ready()
			}
		}
	}
}

// Close ends the listening. A nil socket is closed.
func (n *notifySocket) Close() {
	if n != nil {
		n.conn.Close()
	}
}
