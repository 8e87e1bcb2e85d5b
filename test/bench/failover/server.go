package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// order is what a process is told: on its standard input, as one line of JSON.
type order struct {
	Name, Listen     string
	Certificate, Key []byte         // DER; none: what it serves is not encrypted
	Bulk             bool           // it serves bulk data instead of HTTP
	To               netip.AddrPort // it is a proxy to this master, and none of the above but Listen is used
}

// serving is what it answers when it listens.
type serving struct{ Address string }

// serve is a process of its own: a master, or a proxy. It ends with its standard input, so it cannot outlive whoever started it.
func serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // nothing more is said; its end is what counts
		cancel()
	}()
	if o.To.IsValid() {
		return serveProxy(ctx, o.To)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	config.Control = func(_, _ string, c syscall.RawConn) error { return setCongestion(c) }
	listener, err := config.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	if err := json.NewEncoder(os.Stdout).Encode(serving{listener.Addr().String()}); err != nil {
		return err
	}
	if len(o.Certificate) > 0 {
		key, err := x509.ParsePKCS8PrivateKey(o.Key)
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{o.Certificate}, PrivateKey: key}},
			NextProtos:   []string{"h2"}, MinVersion: tls.VersionTLS12,
		})
	}
	if o.Bulk {
		return serveBulk(ctx, listener)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(masterHeader, o.Name)
			_, _ = io.WriteString(w, "ok") // a client that went away
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}

// serveProxy is the API proxy with one master.
func serveProxy(ctx context.Context, to netip.AddrPort) error {
	p, err := startProxy(ctx, nil, []*master{{name: "bulk", address: to}}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(serving{p.at}); err != nil {
		return errors.Join(err, p.stop())
	}
	<-ctx.Done()
	return p.stop()
}
