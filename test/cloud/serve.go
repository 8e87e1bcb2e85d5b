package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a handler that listens. Close it; what hangs in a black hole ends with it.
type Server struct {
	URL  string // http://address, without a slash at the end
	Addr net.Addr

	http *http.Server
	stop func() bool
	done chan struct{}
	once sync.Once
	err  error
}

// Serve listens on an address such as 127.0.20.5:0 and serves h until Close is called or ctx ends.
func Serve(ctx context.Context, address string, h http.Handler) (*Server, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	return ServeOn(ctx, l, h), nil
}

// ServeOn is Serve on a listener that exists, such as one made in a network namespace. It owns the listener.
func ServeOn(ctx context.Context, l net.Listener, h http.Handler) *Server {
	s := &Server{
		URL:  "http://" + l.Addr().String(),
		Addr: l.Addr(),
		http: &http.Server{Handler: h, ReadHeaderTimeout: time.Minute},
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.err = err
		}
	}()
	s.stop = context.AfterFunc(ctx, func() { _ = s.http.Close() }) // Close reports what went wrong
	return s
}

// Close stops listening and cuts every connection.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.stop()
		err := s.http.Close()
		<-s.done
		if s.err == nil {
			s.err = err
		}
	})
	return s.err
}

// ServeAPI serves the region's API endpoint.
func (c *Cloud) ServeAPI(ctx context.Context, address string) (*Server, error) {
	return Serve(ctx, address, c.Handler())
}

// ServeIMDS serves one instance's metadata: the URL is for AWS_EC2_METADATA_SERVICE_ENDPOINT.
func (c *Cloud) ServeIMDS(ctx context.Context, instanceID, address string) (*Server, error) {
	return Serve(ctx, address, c.IMDS(instanceID))
}
