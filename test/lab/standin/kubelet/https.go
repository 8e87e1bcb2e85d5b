package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	kubelet "k8s.io/kubelet/config/v1beta1"

	"rekindle/test/lab/standin/root"
)

// serveKubelet answers on the kubelet's own port, 10250, with its serving certificate, to whom the API server's authority
// vouches for: the real one, too, refuses everybody else when anonymous access is off.
func serveKubelet(ctx context.Context, c *kubelet.KubeletConfiguration) error {
	if c.TLSCertFile == "" || c.Authentication.X509.ClientCAFile == "" {
		say("no serving certificate or no client CA is configured: nothing listens on 10250")
		return nil
	}
	if c.Authentication.Anonymous.Enabled == nil || *c.Authentication.Anonymous.Enabled {
		return errors.New("authentication.anonymous.enabled is not false: anybody could run commands in pods")
	}
	address := c.Address
	if address == "" {
		address = "0.0.0.0"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","items":[]}`)
	})
	return serveTLS(ctx, "kubelet", net.JoinHostPort(address, "10250"), pair{c.TLSCertFile, c.TLSPrivateKeyFile},
		c.Authentication.X509.ClientCAFile, mux)
}

// serveTLS listens at once and answers until ctx ends. Certificate and client CA are read for every connection, as
// Kubernetes' components notice new ones without a restart.
func serveTLS(ctx context.Context, what, address string, own pair, clientCA string, handler http.Handler) error {
	if _, err := own.load(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		certificate, err := own.load()
		if err != nil {
			return nil, err
		}
		clients, err := readPool(clientCA)
		if err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate},
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients, NextProtos: []string{"h2", "http/1.1"}}, nil
	}}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(tls.NewListener(l, config)) //nolint:errcheck // ends with Close below
	go func() {
		<-ctx.Done()
		server.Close() //nolint:errcheck // the process ends
	}()
	say("%s on %s", what, l.Addr())
	return nil
}

func readPool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(root.Path(path))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificates", path)
	}
	return pool, nil
}
