package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/pki"
)

// listen serves a master on loopback, and returns its address. The test's end stops it.
func (m *master) listen(t *testing.T) string {
	t.Helper()
	l := m.listenAt(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Serve(ctx, []net.Listener{l}, m.certificate(t)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// listenAt is a port on loopback, from where the instance may come, too.
func (m *master) listenAt(t *testing.T) net.Listener {
	t.Helper()
	m.change(func(i *Instance) { i.Addresses = append(i.Addresses, netip.MustParseAddr("127.0.0.1")) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// certificate is the master's own.
func (m *master) certificate(t *testing.T) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	key := theKey()
	leaf, err := pki.Issue(m.authority, pki.Spec{
		CommonName: "join", Names: []string{ServerName(theCluster)}, Usages: []string{pki.Server}, Life: time.Hour,
	}, key.Public(), time.Now())
	if err != nil {
		t.Error(err)
		return noCertificate
	}
	certificate := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }
}

func (m *master) tls(most uint16, protocols ...string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(m.authority.Certificates[0])
	return &tls.Config{RootCAs: roots, ServerName: ServerName(theCluster), MinVersion: tls.VersionTLS10, MaxVersion: most, NextProtos: protocols}
}

// TestServe: the whole way over TLS, with HTTP/1.1 whatever else the client would speak.
func TestServe(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			m := newMaster(t)
			base := "https://" + m.listen(t)
			transport := &http.Transport{TLSClientConfig: m.tls(version), ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}

			var c Challenge
			call(t, client, http.MethodGet, base+NoncePath, nil, "", &c)
			if c.Version != Protocol || time.Since(c.Time).Abs() > time.Minute {
				t.Errorf("challenge %+v", c)
			}
			x := m.exchange(t)
			x.body.Nonce = c.Nonce
			data, proof := x.seal(t)
			var answer Certificates
			over := call(t, client, http.MethodPost, base+JoinPath, data, proof, &answer)
			if len(answer.Certificates) != 3 || answer.Version != Protocol {
				t.Errorf("%d certificates", len(answer.Certificates))
			}
			if over != "HTTP/1.1 over "+tls.VersionName(version) {
				t.Errorf("%s", over)
			}
		})
	}
}

// TestServeAtTwoAddresses: one server, whose bounds hold for both together, and which ends when one of them fails.
func TestServeAtTwoAddresses(t *testing.T) {
	m := newMaster(t, func(o *ServerOptions) { o.Limits = Limits{PerAddress: 3} })
	first, second := m.listenAt(t), m.listenAt(t)
	ended := make(chan error, 1)
	go func() { ended <- m.Serve(t.Context(), []net.Listener{first, second}, m.certificate(t)) }()
	var open []net.Conn
	for n := range 6 {
		conn, err := tls.Dial("tcp", []net.Listener{first, second}[n%2].Addr().String(), m.tls(tls.VersionTLS13))
		if err != nil {
			continue
		}
		open = append(open, conn)
	}
	if len(open) != 3 {
		t.Errorf("%d connections are open, and one address may have 3", len(open))
	}
	for _, conn := range open {
		conn.Close()
	}
	second.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	if conn, err := net.Dial("tcp", first.Addr().String()); err == nil {
		conn.Close()
		t.Error("the other address is still served")
	}
}

// call makes a request, and returns what it was made over.
func call(t *testing.T, client *http.Client, method, target string, body []byte, proof string, answer any) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if proof != "" {
		req.Header.Set(ProofHeader, proof)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %+v", res.Status, err, answer)
	}
	return res.Proto + " over " + tls.VersionName(res.TLS.Version)
}

func TestOldTLSIsRefused(t *testing.T) {
	m := newMaster(t)
	address := m.listen(t)
	_, err := tls.Dial("tcp", address, m.tls(tls.VersionTLS11))
	if err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

// TestClientAndServer: the real client against the real server.
func TestClientAndServer(t *testing.T) {
	m := newMaster(t)
	address := m.listen(t)
	x := m.exchange(t)
	client := &Client{
		Cluster: theCluster, Instance: theInstance, Node: theInstance,
		Masters: func(context.Context) ([]string, error) { return []string{address}, nil },
		Prove: func(_ context.Context, headers map[string]string, at time.Time) (string, error) {
			x.at = at
			return x.presign(t, headers), nil
		},
	}
	var requests []pki.Request
	for _, r := range x.body.Requests {
		requests = append(requests, pki.Request{Name: r.Name, CSR: r.CSR})
	}
	certificates, err := client.Join(t.Context(), m.authority.Certificates, requests)
	if err != nil || len(certificates) != 3 {
		t.Fatalf("%d certificates, %v", len(certificates), err)
	}
}

// TestSlowClientsAreBounded: of one address only so many connections are open, whatever they do, and others get through.
func TestSlowClientsAreBounded(t *testing.T) {
	m := newMaster(t, func(o *ServerOptions) { o.Limits = Limits{PerAddress: 3, Connections: 5} })
	address := m.listen(t)
	open := 0
	for range 8 {
		conn, err := tls.Dial("tcp", address, m.tls(tls.VersionTLS13))
		if err != nil {
			continue
		}
		defer conn.Close()
		open++
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", JoinPath)
	}
	if open != 3 {
		t.Errorf("%d connections are open", open)
	}
	other := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := tls.DialWithDialer(other, "tcp", address, m.tls(tls.VersionTLS13))
	if err != nil {
		t.Fatalf("another address: %v", err)
	}
	conn.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.observed) != 5 || m.observed[0] != Busy {
		t.Errorf("observed %v", m.observed)
	}
}

// TestHugeHeaders and bodies without an end are cut off.
func TestHugeRequests(t *testing.T) {
	m := newMaster(t)
	address := m.listen(t)
	for what, send := range map[string]func(net.Conn){
		"431 Request Header Fields Too Large": func(c net.Conn) {
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\n\r\n", JoinPath, ProofHeader, strings.Repeat("x", 64<<10))
		},
		"400 Bad Request": func(c net.Conn) {
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n%s", JoinPath, strings.Repeat(" ", 0x20000))
		},
		"405 Method Not Allowed": func(c net.Conn) { fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", JoinPath) },
		"404 Not Found":          func(c net.Conn) { fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
	} {
		conn, err := tls.Dial("tcp", address, m.tls(tls.VersionTLS13))
		if err != nil {
			t.Fatal(err)
		}
		go send(conn)
		head := make([]byte, 64)
		n, err := io.ReadAtLeast(conn, head, 40)
		if !strings.HasPrefix(string(head[:n]), "HTTP/1.1 "+what) {
			t.Errorf("%q (%v), want %s", head[:n], err, what)
		}
		conn.Close()
	}
}

// silent is a listener that nobody connects to.
type silent struct {
	net.Listener
	closed chan struct{}
	once   sync.Once
}

func (l *silent) Accept() (net.Conn, error) { <-l.closed; return nil, net.ErrClosed }
func (l *silent) Close() error              { l.once.Do(func() { close(l.closed) }); return nil }
func (l *silent) Addr() net.Addr            { return &net.TCPAddr{} }

func noCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }

// TestServeEnds with its context, but not before those who still ask EC2, and when its listener fails.
func TestServeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaster(t)
		m.authority = makeAuthority(time.Now())
		release := make(chan struct{})
		m.lookups.ask = func(ctx context.Context, ids []string) (map[string]Instance, error) {
			<-release
			return m.describe(ctx, ids)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		x := m.exchange(t)
		wg.Go(func() { x.want(t, x.send(t), Granted) })
		ended := make(chan error, 1)
		go func() { ended <- m.Serve(ctx, []net.Listener{&silent{closed: make(chan struct{})}}, noCertificate) }()
		synctest.Wait()
		cancel()
		time.Sleep(time.Second)
		if len(ended) > 0 {
			t.Error("Serve ended before the lookup")
		}
		close(release)
		wg.Wait()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	broken := &silent{closed: make(chan struct{})}
	broken.Close()
	if err := newMaster(t).Serve(t.Context(), []net.Listener{broken}, noCertificate); !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "join server: ") {
		t.Errorf("%v", err)
	}
}

func TestNewServer(t *testing.T) {
	good := newMaster(t).options
	for what, bend := range map[string]func(*ServerOptions){
		"cluster":      func(o *ServerOptions) { o.Cluster = "" },
		"account":      func(o *ServerOptions) { o.Account = "" },
		"partition":    func(o *ServerOptions) { o.Partition = "" },
		"region":       func(o *ServerOptions) { o.Region = "" },
		"STS":          func(o *ServerOptions) { o.STS = &url.URL{Path: "/"} },
		"EC2":          func(o *ServerOptions) { o.Instances = nil },
		"tags":         func(o *ServerOptions) { o.Tags = nil },
		"authority":    func(o *ServerOptions) { o.Authority = nil },
		"life":         func(o *ServerOptions) { o.Life = 0 },
		"iamRoles":     func(o *ServerOptions) { o.IAMRoles = []string{""} },
		"join server:": func(o *ServerOptions) { o.STS = nil },
	} {
		o := good
		bend(&o)
		if _, err := NewServer(o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	o := good
	o.HTTP, o.Observe, o.Logger = nil, nil, nil
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	if transport, ok := s.http.Transport.(*http.Transport); !ok || transport.MaxIdleConnsPerHost != 64 {
		t.Errorf("transport %+v", s.http.Transport)
	}
	s.refuse(discard{}, &attempt{}, time.Now(), refuse(Late, "late")) // nobody observes and nobody logs
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
