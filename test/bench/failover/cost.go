package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"rekindle/agent/discovery"
	"rekindle/agent/pki"
)

const (
	bulk   = 512 << 20 // bytes of a run
	chunk  = 256 << 10
	warmup = 256 << 20

	questions = 500 // of a batch
	batches   = 20
)

// measureCost compares direct connections to a server with such through the proxy, on loopback: TLS, as all of the API's
// are, and plain TCP, of which the proxy is a larger part.
func measureCost(ctx context.Context, w io.Writer, pairs int, log *slog.Logger) error {
	authority, err := pki.New(pki.Kubernetes, "ECDSA-P256", time.Hour, time.Now())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.CertificatePEM())
	encrypted, plain := &master{name: "tls", address: anyPort}, &master{name: "tcp", address: anyPort}
	if err := encrypted.certify(authority); err != nil {
		return err
	}
	err = encrypted.compare(ctx, roots, log, func(direct, proxied net.Conn) error {
		return throughput(w, "proxy_throughput", direct, proxied, pairs, log)
	})
	if err != nil {
		return err
	}
	return plain.compare(ctx, nil, log, func(direct, proxied net.Conn) error {
		if err := throughput(w, "proxy_throughput_tcp", direct, proxied, pairs, log); err != nil {
			return err
		}
		return latency(w, direct, proxied)
	})
}

// compare starts a server of bulk data and calls do with a connection to it and one through the proxy.
func (m *master) compare(ctx context.Context, roots *x509.CertPool, log *slog.Logger, do func(direct, proxied net.Conn) error) (err error) {
	m.order.Bulk = true
	defer func() { err = errors.Join(err, m.remove()) }()
	if err := m.start(ctx); err != nil {
		return err
	}
	p, err := startProxy(ctx, nil, []*master{m}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	direct, err := dialBulk(ctx, m.address.String(), roots)
	if err != nil {
		return err
	}
	defer direct.Close()
	proxied, err := dialBulk(ctx, p.at, roots)
	if err != nil {
		return err
	}
	defer proxied.Close()
	return do(direct, proxied)
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

// throughput prints the median of the ratios of runs that follow each other.
func throughput(w io.Writer, name string, direct, proxied net.Conn, pairs int, log *slog.Logger) error {
	buffer := make([]byte, chunk)
	speed := func(conn net.Conn, n int) (float64, error) {
		began := time.Now()
		err := fetch(conn, n, buffer)
		return float64(n) / time.Since(began).Seconds() / 1e9, err
	}
	for _, conn := range []net.Conn{direct, proxied} {
		if _, err := speed(conn, warmup); err != nil {
			return err
		}
	}
	var ratios, through []float64
	for range pairs {
		a, err := speed(direct, bulk)
		if err != nil {
			return err
		}
		b, err := speed(proxied, bulk)
		if err != nil {
			return err
		}
		log.Info(name, "direct GB/s", a, "proxied GB/s", b)
		ratios, through = append(ratios, b/a), append(through, b)
	}
	slices.Sort(ratios)
	slices.Sort(through)
	line(w, name+"_ratio", ratios[pairs/2], "ratio", fmt.Sprintf("min %.2f  max %.2f  runs %d", ratios[0], ratios[pairs-1], pairs))
	line(w, name+"_gbs", through[pairs/2], "GB/s", "")
	return nil
}

// latency prints by how much the median of a small question and its answer is higher.
func latency(w io.Writer, direct, proxied net.Conn) error {
	took := map[net.Conn][]time.Duration{}
	buffer := make([]byte, 256)
	for range batches {
		for _, conn := range []net.Conn{direct, proxied} {
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
	line(w, "proxy_added_latency_us_p50", median(proxied)-median(direct), "us",
		fmt.Sprintf("direct %.1f  proxied %.1f", median(direct), median(proxied)))
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
