package apiproxy

import (
	"bufio"
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"rekindle/agent/discovery"
)

func TestMain(m *testing.M) {
	if backend := os.Getenv(childBackend); backend != "" {
		os.Exit(child(backend))
	}
	goleak.VerifyTestMain(m)
}

// limit is how long anything may take before a test fails.
const limit = 20 * time.Second

// certified is the name that httptest's certificate is valid for.
const certified = "example.com"

// master is an API server: what begins like TLS reaches its HTTP server, and anything else raw.
type master struct {
	t        *testing.T
	name     string
	listener net.Listener
	tls      chan net.Conn
	closed   func()
	over     <-chan struct{}
	server   *httptest.Server
	ready    atomic.Bool
	once     atomic.Bool  // the next look finds it not ready
	looks    atomic.Int64 // at /readyz
	reads    atomic.Int64 // of TLS records and the like, about
	frozen   atomic.Bool  // what is heard by TLS is lost
	raw      func(*net.TCPConn)

	mu     sync.Mutex
	open   map[net.Conn]bool // false: TLS
	served sync.WaitGroup
}

func newMaster(t *testing.T, name string) *master {
	m := &master{t: t, name: name, tls: make(chan net.Conn), open: map[net.Conn]bool{}, raw: echo(name)}
	over, closed := context.WithCancel(context.Background())
	m.over, m.closed = over.Done(), closed
	m.ready.Store(true)
	m.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.looks.Add(1)
		if r.URL.Path != "/readyz" || !m.ready.Load() || m.once.CompareAndSwap(true, false) {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	_ = m.server.Listener.Close()
	m.server.EnableHTTP2 = true
	m.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	m.listen("127.0.0.1:0")
	m.server.Listener = handed{m}
	m.server.StartTLS()
	t.Cleanup(m.kill)
	return m
}

func (m *master) listen(at string) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		m.t.Fatal(err)
	}
	m.listener = l
	m.served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			m.served.Go(func() { m.serve(conn.(*net.TCPConn)) })
		}
	})
}

func (m *master) serve(conn *net.TCPConn) {
	m.mu.Lock()
	m.open[conn] = true
	m.mu.Unlock()
	first := bufio.NewReaderSize(conn, 16)
	b, err := first.Peek(1)
	if m.frozen.Load() {
		_, _ = io.Copy(io.Discard, conn)
	}
	if err != nil || b[0] != 0x16 {
		head, _ := first.Peek(first.Buffered())
		if len(head) > 0 {
			m.begin(conn, head)
		} else {
			_ = conn.Close()
		}
		return
	}
	m.mu.Lock()
	m.open[conn] = false
	m.mu.Unlock()
	head, _ := first.Peek(first.Buffered())
	select {
	case m.tls <- &begun{TCPConn: conn, master: m, head: slices.Clone(head)}:
	case <-m.over:
		_ = conn.Close()
	}
}

// begin answers the first bytes as an echo does, and hands the rest over.
func (m *master) begin(conn *net.TCPConn, head []byte) {
	_, _ = conn.Write(head) // the client tells
	m.raw(conn)
	m.mu.Lock()
	delete(m.open, conn)
	m.mu.Unlock()
	_ = conn.Close()
}

// echo says its name first, then all that it hears.
func echo(name string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		_, _ = conn.Write([]byte(name))
		_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}) // no splice: a pipe would count as a leak of the proxy
	}
}

// freeze makes the API server hang: its kernel still takes connections.
func (m *master) freeze() { m.frozen.Store(true) }

// vanish makes the master unreachable, and leaves its raw connections open: nobody tells their clients.
func (m *master) vanish() {
	_ = m.listener.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn, raw := range m.open {
		if !raw {
			_ = conn.Close()
		}
	}
}

func (m *master) kill() {
	m.vanish()
	m.mu.Lock()
	for conn := range m.open {
		_ = conn.Close()
	}
	m.mu.Unlock()
	m.server.Close()
	m.served.Wait()
}

func (m *master) backend() Backend {
	return Backend{Instance: m.name, Address: m.listener.Addr().(*net.TCPAddr).AddrPort(), Health: discovery.Healthy}
}

func (m *master) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(m.server.Certificate())
	return pool
}

// handed is the listener of the HTTP server.
type handed struct{ *master }

func (h handed) Accept() (net.Conn, error) {
	select {
	case conn := <-h.tls:
		return conn, nil
	case <-h.over:
		return nil, net.ErrClosed
	}
}
func (h handed) Close() error   { h.closed(); return nil }
func (h handed) Addr() net.Addr { return h.listener.Addr() }

// begun is a connection whose first bytes were read already.
type begun struct {
	*net.TCPConn
	*master
	head []byte
}

func (b *begun) Read(to []byte) (int, error) {
	b.reads.Add(1)
	if len(b.head) > 0 {
		n := copy(to, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	for {
		n, err := b.TCPConn.Read(to)
		if err != nil || !b.frozen.Load() {
			return n, err
		}
	}
}

// running is a proxy at work.
type running struct {
	*Proxy
	t        *testing.T
	at       string
	registry *prometheus.Registry
}

// start runs a proxy that checks often.
func start(t *testing.T, o Options, masters ...*master) *running {
	t.Helper()
	registry := prometheus.NewRegistry()
	o.Name, o.Registerer = certified, registry
	if o.Interval == 0 {
		o.Interval, o.Ready = 50*time.Millisecond, 50*time.Millisecond
	}
	var all []Backend
	for _, m := range masters {
		o.Roots = m.roots
		all = append(all, m.backend())
	}
	p := New(o)
	p.SetBackends(all)
	listeners, err := Listeners(t.Context(), "none", netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, listeners...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &running{Proxy: p, t: t, at: listeners[0].Addr().String(), registry: registry}
}

// state waits until the checks say so of a master.
func (r *running) state(m *master, want State) {
	r.t.Helper()
	eventually(r.t, m.name+" is "+string(want), func() bool { return r.of(m).State == want })
}

func (r *running) of(m *master) BackendStatus {
	for _, b := range r.Status().Backends {
		if b.Instance == m.name {
			return b
		}
	}
	return BackendStatus{}
}

// counter is the value of a metric, of the series with that label value if one is given.
func (r *running) counter(name, label string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "rekindle_apiproxy_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := label == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == label
			}
			if has {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	r.t.Fatalf("no metric %s %s", name, label)
	return 0
}

// connect opens a connection and returns the name of the master that it reached.
func (r *running) connect() (*net.TCPConn, string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte{'.'}); err != nil {
		r.t.Fatal(err)
	}
	answer := make([]byte, 3)
	if _, err := io.ReadFull(conn, answer); err != nil {
		r.t.Fatal(err)
	}
	return conn.(*net.TCPConn), string(answer[1:])
}

// says tells whether the connection still carries.
func says(conn net.Conn, text string) bool {
	if _, err := conn.Write([]byte(text)); err != nil {
		return false
	}
	answer := make([]byte, len(text))
	_, err := io.ReadFull(conn, answer)
	return err == nil && string(answer) == text
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(limit); !is(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("not in time: ", what)
		}
	}
}
