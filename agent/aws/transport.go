package aws

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	// readTimeout is how long a connection may be silent in both directions. The SDK has no such limit of its own, and
	// a black hole behind a security group would hold a boot forever.
	readTimeout = 30 * time.Second
)

// newTransport is the connection to all services. It speaks HTTP/1.1 only: S3 does, and a second protocol stack costs
// memory.
func newTransport(silence time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watched{Conn: conn, silence: silence}, nil
		},
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   dialTimeout,
		MaxIdleConnsPerHost:   32, // assets are fetched in parallel
		IdleConnTimeout:       silence,
		ExpectContinueTimeout: time.Second,
	}
}

// watched is a connection that fails when nothing moves for too long. Every write also renews the deadline for reads,
// so that a long upload, during which nothing is to be read, goes on.
type watched struct {
	net.Conn
	silence time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(w.silence)); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

func (w *watched) Write(p []byte) (int, error) {
	if err := w.SetDeadline(time.Now().Add(w.silence)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}
