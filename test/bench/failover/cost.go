package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"rekindle/agent/discovery"
	"rekindle/agent/pki"
)

const (
	questions = 500 // of a batch
	batches   = 20
)

// rates are those of network interfaces: 10 Gbit/s is what an m5.large has for some minutes.
var rates = []string{"10gbit", "5gbit"}

// measureCost compares direct connections to a server with such through the proxy: TLS, as all of the API's are, and
// plain TCP, of which the proxy is a larger part. Lines of a given rate take root.
func measureCost(ctx context.Context, r *report, pairs int, lines bool, log *slog.Logger) error {
	authority, err := pki.New(pki.Kubernetes, "ECDSA-P256", time.Hour, time.Now())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.CertificatePEM())
	encrypted := &master{name: "tls", address: anyPort}
	if err := encrypted.certify(authority); err != nil {
		return err
	}
	err = encrypted.compare(ctx, roots, func(c *comparison) error {
		return c.throughput(r, "proxy_throughput", pairs, log)
	})
	if err != nil {
		return err
	}
	err = (&master{name: "tcp", address: anyPort}).compare(ctx, nil, func(c *comparison) error {
		return errors.Join(c.throughput(r, "proxy_throughput_tcp", pairs, log), c.latency(r))
	})
	if err != nil || !lines {
		return err
	}
	for i, rate := range rates {
		if err := compareAt(ctx, r, masters+i, rate, authority, roots, pairs, log); err != nil {
			return fmt.Errorf("%s: %w", rate, err)
		}
	}
	return nil
}

// compareAt compares transfers over TLS from a server behind a line of a rate. Between client and proxy is loopback.
// Number is that of a namespace: the kernel takes a while to remove one.
func compareAt(ctx context.Context, r *report, number int, rate string, authority *pki.Authority, roots *x509.CertPool, pairs int, log *slog.Logger) error {
	space, err := newNamespace(ctx, number)
	if err != nil {
		return err
	}
	m := &master{name: rate, space: space, address: netip.AddrPortFrom(space.inside, 6443)}
	if err := errors.Join(space.limit(ctx, rate), m.certify(authority)); err != nil {
		return errors.Join(err, m.remove())
	}
	return m.compare(ctx, roots, func(c *comparison) error {
		return c.throughput(r, "proxy_throughput_"+rate, pairs, log)
	})
}

// comparison is a server of bulk data, and a client that has a connection to it and one through the proxy.
type comparison struct {
	direct, proxied net.Conn
	server, proxy   int // processes
}

// compare starts the processes and calls do.
func (m *master) compare(ctx context.Context, roots *x509.CertPool, do func(*comparison) error) (err error) {
	m.order.Bulk = true
	defer func() { err = errors.Join(err, m.remove()) }()
	if err := m.start(ctx); err != nil {
		return err
	}
	p, err := startProcess(ctx, nil, order{To: m.address})
	if err != nil {
		return err
	}
	defer p.kill()
	c := &comparison{server: m.process.command.Process.Pid, proxy: p.command.Process.Pid}
	if c.direct, err = dialBulk(ctx, m.address.String(), roots); err != nil {
		return err
	}
	defer c.direct.Close()
	if c.proxied, err = dialBulk(ctx, p.address.String(), roots); err != nil {
		return err
	}
	defer c.proxied.Close()
	return do(c)
}

// dialBulk connects, with TLS if roots are given.
func dialBulk(ctx context.Context, at string, roots *x509.CertPool) (net.Conn, error) {
	if roots == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", at)
	}
	return (&tls.Dialer{Config: &tls.Config{
		RootCAs: roots, ServerName: discovery.APIName(cluster), NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
	}}).DialContext(ctx, "tcp", at)
}

// latency prints by how much the median of a small question and its answer is higher.
func (c *comparison) latency(r *report) error {
	took := map[net.Conn][]time.Duration{}
	buffer := make([]byte, 256)
	for range batches {
		for _, conn := range []net.Conn{c.direct, c.proxied} {
			for range questions {
				began := time.Now()
				if err := fetch(conn, len(buffer), buffer); err != nil {
					return err
				}
				took[conn] = append(took[conn], time.Since(began))
			}
		}
	}
	median := func(conn net.Conn) float64 {
		all := took[conn]
		slices.Sort(all)
		return float64(all[len(all)/2].Nanoseconds()) / 1000
	}
	r.line("proxy_added_latency_us_p50", median(c.proxied)-median(c.direct), "us",
		fmt.Sprintf("direct %.1f  proxied %.1f", median(c.direct), median(c.proxied)))
	return nil
}

// fetch asks for n bytes and reads them.
func fetch(conn net.Conn, n int, buffer []byte) error {
	if err := binary.Write(conn, binary.BigEndian, uint64(n)); err != nil {
		return err
	}
	for n > 0 {
		got, err := conn.Read(buffer[:min(n, len(buffer))])
		if err != nil {
			return err
		}
		n -= got
	}
	return nil
}

// serveBulk answers each number with as many bytes.
func serveBulk(ctx context.Context, l net.Listener) error {
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go answerBulk(conn)
	}
}

func answerBulk(conn net.Conn) {
	defer conn.Close()
	data := make([]byte, chunk)
	for {
		var n uint64
		if err := binary.Read(conn, binary.BigEndian, &n); err != nil {
			return // the client went away
		}
		for ; n > 0; n -= min(n, chunk) {
			if _, err := conn.Write(data[:min(n, chunk)]); err != nil {
				return
			}
		}
	}
}
