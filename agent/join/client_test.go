package join

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rekindle/agent/pki"
	"rekindle/agent/status"
)

const (
	clientCluster  = "prod.example"
	clientInstance = "i-0123456789abcdef0"
)

// network is what a client dials, by address: connections in memory, so that the clock of a synctest bubble counts.
type network struct {
	mu     sync.Mutex
	listen map[string]func(ctx context.Context) (net.Conn, error)
	dialed []string
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, address)
	open := n.listen[address]
	n.mu.Unlock()
	if open == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return open(ctx)
}

func (n *network) put(address string, open func(context.Context) (net.Conn, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listen[address] = open
}

// hole answers nothing at all, as behind a security group.
func hole(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }

// mute takes connections and says nothing, as a stopped process.
func mute(t *testing.T) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = there.Close() })
		go func() { _, _ = io.Copy(io.Discard, there) }()
		return here, nil
	}
}

// buffered is an end of a connection in memory whose writes do not wait for the reader: TLS needs that.
type buffered struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	out    chan []byte
}

func newBuffered(conn net.Conn) net.Conn {
	b := &buffered{Conn: conn, out: make(chan []byte, 1000)}
	go func() {
		for data := range b.out {
			if _, err := conn.Write(data); err != nil {
				break
			}
		}
		_ = conn.Close()
	}()
	return b
}

func (b *buffered) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	b.out <- bytes.Clone(data)
	return len(data), nil
}

func (b *buffered) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		_ = b.SetDeadline(time.Now().Add(time.Millisecond)) // what was written may still be read
		close(b.out)
	}
	return nil
}

// listener hands out the server's ends of connections in memory.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return newBuffered(c), nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }
func (l *listener) open(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return newBuffered(here), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fakeMaster is a join server that believes everything, unless the test says otherwise.
type fakeMaster struct {
	authority *pki.Authority // signs the node's certificates
	clock     time.Duration  // ahead of the node's
	// refuse is asked before a certificate is issued; nil: it is.
	refuse func(*http.Request, Body) *refused
	// challenge and answer change what is sent.
	challenge func(*Challenge)
	answer    func(*Certificates)
	raw       http.HandlerFunc // instead of all that

	nonces, joins atomic.Int32
}

func (m *fakeMaster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	if m.raw != nil {
		m.raw(w, r)
		return
	}
	if r.Method == http.MethodGet && r.URL.Path == NoncePath {
		c := Challenge{Version: Protocol, Nonce: fmt.Sprintf("nonce-%d", m.nonces.Add(1)), Time: time.Now().Add(m.clock)}
		if m.challenge != nil {
			m.challenge(&c)
		}
		_ = json.NewEncoder(w).Encode(c)
		return
	}
	m.joins.Add(1)
	var body Body
	if r.Method != http.MethodPost || r.URL.Path != JoinPath || json.Unmarshal(data, &body) != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	sum := sha256.Sum256(data)
	proof := fmt.Sprintf("%s %s %s", hex.EncodeToString(sum[:]), body.Cluster, body.Nonce)
	no := (*refused)(nil)
	if got, _, _ := strings.Cut(r.Header.Get(ProofHeader), "|"); got != proof {
		no = &refused{Refusal{Altered, "signed " + got + ", and not " + proof}, 403, 0}
	}
	if no == nil && m.refuse != nil {
		no = m.refuse(r, body)
	}
	if no != nil {
		if no.after > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(int(no.after.Seconds())))
		}
		w.WriteHeader(no.code)
		_ = json.NewEncoder(w).Encode(no.Refusal)
		return
	}
	answer := Certificates{Version: Protocol}
	for _, asked := range body.Requests {
		answer.Certificates = append(answer.Certificates, signFor(m.authority, asked))
	}
	if m.answer != nil {
		m.answer(&answer)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func signFor(authority *pki.Authority, asked Request) []byte {
	csr, err := pki.ParseCSR(asked.CSR)
	if err != nil {
		panic(err)
	}
	spec := pki.Spec{CommonName: csr.CommonName, Organizations: csr.Organizations, Names: csr.Names, Life: time.Hour,
		Usages: []string{pki.Client}}
	if asked.Name == KubeletServing {
		spec.Usages = []string{pki.Server}
	}
	certificate, err := pki.Issue(authority, spec, csr.Public, time.Now())
	if err != nil {
		panic(err)
	}
	return certificate.Raw
}

func freshAuthority(t *testing.T, now time.Time) *pki.Authority {
	t.Helper()
	authority, err := pki.New(pki.Kubernetes, "ECDSA-P256", 24*365*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// serve puts a master with a certificate for a cluster of an authority on the network.
func (n *network) serve(t *testing.T, address, cluster string, authority *pki.Authority, m *fakeMaster) {
	t.Helper()
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		t.Fatal(err)
	}
	spec := pki.Spec{Names: []string{ServerName(cluster)}, Usages: []string{pki.Server}, Life: 24 * time.Hour}
	leaf, err := pki.Issue(authority, spec, key.Public(), authority.Certificates[0].NotBefore.Add(5*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: m, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	secure := tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
	})
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = server.Serve(secure) }()
	t.Cleanup(func() { _ = server.Close(); <-stopped })
	n.put(address, l.open)
}

// scene is a node and its masters, a to z.
type scene struct {
	*network
	authority *pki.Authority
	client    *Client
	requests  []pki.Request
	masters   []string
	log       *bytes.Buffer
	waits     *recordedWaits
}

func newScene(t *testing.T, masters ...string) *scene {
	t.Helper()
	s := &scene{
		network: &network{listen: map[string]func(context.Context) (net.Conn, error){}}, masters: masters,
		authority: freshAuthority(t, time.Now()), log: &bytes.Buffer{}, waits: &recordedWaits{}, requests: csrsFor(t, clientInstance),
	}
	s.client = &Client{
		Cluster: clientCluster, Instance: clientInstance, Node: clientInstance, Dial: s.dial,
		Masters: func(context.Context) ([]string, error) { return s.masters, nil },
		Prove:   proveFake, Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	return s
}

func proveFake(_ context.Context, headers map[string]string, at time.Time) (string, error) {
	return headers[BodyHeader] + " " + headers[ClusterHeader] + " " + headers[NonceHeader] + "|" + at.Format(time.RFC3339), nil
}

func csrsFor(t *testing.T, node string) []pki.Request {
	t.Helper()
	var requests []pki.Request
	for _, name := range []string{KubeletClient, KubeletServing} {
		key, err := pki.NewKey("ECDSA-P256")
		if err != nil {
			t.Fatal(err)
		}
		spec := pki.Spec{CommonName: "system:node:" + node, Organizations: []string{"system:nodes"},
			Usages: []string{pki.Client}, Life: time.Hour}
		if name == KubeletServing {
			spec.Usages, spec.Names = []string{pki.Server}, []string{node, "10.0.0.9", "fd00::9"}
		}
		csr, err := pki.NewCSR(spec, key)
		if err != nil {
			t.Fatal(err)
		}
		requests = append(requests, pki.Request{Name: name, CSR: csr})
	}
	return requests
}

// add puts a master on the network and among the candidates.
func (s *scene) add(t *testing.T, address string, m *fakeMaster) *fakeMaster {
	t.Helper()
	if m.authority == nil {
		m.authority = s.authority
	}
	s.serve(t, address, clientCluster, s.authority, m)
	if !slices.Contains(s.masters, address) {
		s.masters = append(s.masters, address)
	}
	return m
}

// join calls Join for at most limit, and says how long it took.
func (s *scene) join(t *testing.T, limit time.Duration) ([][]byte, time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(status.WithWaits(t.Context(), s.waits), limit)
	defer cancel()
	began := time.Now()
	certificates, err := s.client.Join(ctx, s.authority.Certificates, s.requests)
	s.waits.mu.Lock()
	defer s.waits.mu.Unlock()
	if s.waits.open != 0 {
		t.Errorf("%d waits are still open", s.waits.open)
	}
	return certificates, time.Since(began), err
}

func (s *scene) mustJoin(t *testing.T, within time.Duration) time.Duration {
	t.Helper()
	certificates, took, err := s.join(t, within)
	if err != nil || len(certificates) != len(s.requests) {
		t.Fatalf("%d certificates after %v, error %v\n%s", len(certificates), took, err, s.log)
	}
	return took
}

func (s *scene) mustFail(t *testing.T, limit time.Duration, reason status.Reason, words ...string) {
	t.Helper()
	_, _, err := s.join(t, limit)
	got, hint := status.ReasonOf(err)
	if err == nil || got != reason || hint == "" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reason %s, hint %q of %v; want %s", got, hint, err, reason)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in %v", w, err)
		}
	}
}

// recordedWaits is what `rekindle status` would have shown.
type recordedWaits struct {
	mu   sync.Mutex
	seen []string
	open int
}

func (w *recordedWaits) Begin(ctx context.Context, name, forWhat string) status.WaitFunc {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		name += " without a deadline"
	}
	w.seen = append(w.seen, name+": "+forWhat)
	w.open++
	return sync.OnceFunc(func() { w.mu.Lock(); w.open--; w.mu.Unlock() })
}

func no(reason Reason) *refused {
	return &refused{Refusal{reason, answers[reason].message}, answers[reason].status, 0}
}

func TestClientJoins(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{clock: 3 * time.Hour})
		want := time.Now().Add(3 * time.Hour).Format(time.RFC3339)
		m.refuse = func(r *http.Request, b Body) *refused {
			if !strings.HasSuffix(r.Header.Get(ProofHeader), "|"+want) {
				t.Errorf("signed as %q, want the master's clock, %s", r.Header.Get(ProofHeader), want)
			}
			if b.Version != Protocol || b.Cluster != clientCluster || b.Instance != clientInstance || b.Node != clientInstance {
				t.Errorf("body %+v", b)
			}
			return nil
		}
		if took := s.mustJoin(t, time.Minute); took > time.Millisecond {
			t.Errorf("took %v", took)
		}
		if seen := s.waits.seen; len(seen) != 1 || seen[0] != "join: a master's answer: one of the masters" {
			t.Errorf("waits: %q", seen)
		}
		if certificates, err := s.client.Join(t.Context(), s.authority.Certificates, nil); certificates != nil || err != nil {
			t.Errorf("nothing asked for: %v, %v", certificates, err)
		}
	})
}

// TestClientOverTCP is the same over real connections and a real net/http server, session tickets included.
func TestClientOverTCP(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newScene(t)
	s.client.Dial = nil
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.Issue(s.authority, pki.Spec{Names: []string{ServerName(clientCluster)}, Usages: []string{pki.Server}, Life: time.Hour},
		key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}, NextProtos: []string{"h2", "http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var from []string
	m := &fakeMaster{authority: s.authority, refuse: func(r *http.Request, _ Body) *refused { from = append(from, r.RemoteAddr); return nil }}
	server := &http.Server{Handler: m}
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = server.Serve(l) }()
	defer func() { _ = server.Close(); <-stopped }()
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // leads nowhere
	s.masters = []string{"127.0.0.1:1", l.Addr().String()}
	s.mustJoin(t, 20*time.Second)
	if len(from) != 1 {
		t.Errorf("asked %d times", len(from))
	}
}

func TestClientPassesByWhatIsDown(t *testing.T) {
	for name, dead := range map[string]func(*testing.T) func(context.Context) (net.Conn, error){
		"a black hole": func(*testing.T) func(context.Context) (net.Conn, error) { return hole },
		"mute":         mute,
		"refusing":     func(*testing.T) func(context.Context) (net.Conn, error) { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.add(t, "10.0.0.9:3988", &fakeMaster{})
				first := s.seeker(t).rank("10.0.0.9:3988")
				for n := 0; len(s.masters) < 2; n++ { // one that is asked first
					address := fmt.Sprintf("10.1.0.%d:3988", n)
					if s.seeker(t).rank(address) < first {
						s.masters = append(s.masters, address)
						s.put(address, dead(t))
					}
				}
				most := time.Second
				if name == "mute" {
					most = 2 * time.Second
				}
				if took := s.mustJoin(t, time.Minute); took > most {
					t.Errorf("took %v; one that is down may cost %v", took, most)
				}
			})
		})
	}
}

// TestClientWaitsInLine: a master that serves thousands of others lets a connection wait. The node does not give its place
// up while it knows no other master.
func TestClientWaitsInLine(t *testing.T) {
	const line = 12 * time.Second
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
		serve := s.listen["10.0.0.4:3988"]
		s.put("10.0.0.4:3988", func(context.Context) (net.Conn, error) {
			here, there := net.Pipe()
			go func() { // the kernel's queue
				defer there.Close()
				time.Sleep(line)
				up, err := serve(t.Context()) // the dial is over by then
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, there) }()
				_, _ = io.Copy(there, up)
			}()
			return newBuffered(here), nil
		})
		took := s.mustJoin(t, time.Minute)
		if took < line || took > line+time.Second || len(s.dialed) != 1 || m.joins.Load() != 1 {
			t.Errorf("took %v with %d connections", took, len(s.dialed))
		}
	})
}

func (s *scene) seeker(t *testing.T) *seeker {
	t.Helper()
	k, err := s.client.newSeeker(s.authority.Certificates, s.requests)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestClientManyDeadSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.add(t, "10.0.0.9:3988", &fakeMaster{})
		living := s.seeker(t).rank("10.0.0.9:3988")
		for n := 0; len(s.masters) < 32; n++ { // all of them are asked first
			if address := fmt.Sprintf("10.1.%d.%d:3988", n>>8, n&255); s.seeker(t).rank(address) < living {
				s.masters = append(s.masters, address)
				s.put(address, hole)
			}
		}
		if took := s.mustJoin(t, time.Minute); took > 9*time.Second {
			t.Errorf("took %v with 31 dead addresses", took)
		}
	})
}

func TestClientSpreads(t *testing.T) {
	s := newScene(t, "10.0.0.1:3988", "10.0.0.2:3988", "10.0.0.3:3988", "10.0.0.1:3988", "no port")
	first := map[string]int{}
	for n := range 3000 {
		k := s.seeker(t)
		k.Client = &Client{Instance: fmt.Sprintf("i-%d", n)}
		k.know(s.masters)
		if len(k.known) != 3 {
			t.Fatalf("known: %q", k.known)
		}
		first[k.order()[0]]++
		k.failed(t.Context(), k.known[0], errUnreached)
		if order := k.order(); order[2] != k.known[0] {
			t.Fatalf("%s failed and is asked before others: %q", k.known[0], order)
		}
	}
	for master, n := range first {
		if n < 900 || n > 1100 {
			t.Errorf("%s is the first choice of %d of 3000 nodes", master, n)
		}
	}
}

func TestClientWaitsForTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		tagged := time.Now().Add(40 * time.Second)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused {
			if time.Now().Before(tagged) {
				return no(UntaggedCluster)
			}
			return nil
		}})
		if took := s.mustJoin(t, 5*time.Minute); took < 40*time.Second || took > 100*time.Second {
			t.Errorf("took %v; the tags came after 40 s", took)
		}
		if n := m.joins.Load(); n < 4 || n > 8 {
			t.Errorf("asked %d times", n)
		}
		want := "join: a master's answer: 10.0.0.4:3988: join: refused: UntaggedCluster: the instance's tags do not name this cluster " +
			"(tag the instance with"
		if seen := s.waits.seen; len(seen) != 2 || !strings.HasPrefix(seen[1], want) {
			t.Errorf("waits: %q", seen)
		}
		if n := strings.Count(s.log.String(), "no certificates yet"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, s.log)
		}
	})
}

func TestClientBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		var asked []time.Time
		s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused {
			if asked = append(asked, time.Now()); len(asked) < 4 {
				r := no(Busy)
				r.after = 7 * time.Second
				return r
			}
			return nil
		}})
		s.mustJoin(t, 2*time.Minute)
		for i := 1; i < len(asked); i++ {
			if pause := asked[i].Sub(asked[i-1]); pause < 7*time.Second || pause > 12*time.Second {
				t.Errorf("pause %d is %v; the master asked for 7 s", i, pause)
			}
		}
		k, r := s.seeker(t), refusedBy(&http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"86400"}}},
			[]byte(`{"reason":"Busy"}`))
		if pause := k.pause(r); pause < maxRetryAfter || pause > maxRetryAfter+firstBusyPause {
			t.Errorf("a master that asks for a day gets %v", pause)
		}
	})
}

// TestClientUnavailable: a master that cannot reach AWS sends no node away from the others.
func TestClientUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		down := func(*http.Request, Body) *refused { return no(Unavailable) }
		masters := []string{"10.0.0.1:3988", "10.0.0.2:3988"}
		k := s.seeker(t)
		k.know(masters)
		one := s.add(t, k.known[0], &fakeMaster{refuse: down}) // the one that is asked first
		other := s.add(t, k.known[1], &fakeMaster{})
		if took := s.mustJoin(t, time.Minute); took > time.Millisecond || one.joins.Load() != 1 {
			t.Errorf("took %v, asked the first master %d times", took, one.joins.Load())
		}
		other.refuse = down
		before := one.joins.Load()
		s.mustFail(t, 3*time.Minute, status.ReasonJoinUnreached, "10.0.0.1:3988: join: refused: Unavailable", "ec2:DescribeInstances")
		if n := one.joins.Load() - before; n < 10 || n > 100 {
			t.Errorf("asked %d times in 3 minutes", n)
		}
	})
}

func TestClientRestartedMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
		m.refuse = func(*http.Request, Body) *refused {
			if m.joins.Load() < 3 {
				return no(BadNonce)
			}
			return nil
		}
		if took := s.mustJoin(t, time.Minute); took > time.Second {
			t.Errorf("took %v; the nonce is not the node's fault", took)
		}
	})
}

func TestClientEveryRefusalHasAHint(t *testing.T) {
	for reason, a := range answers {
		if reason == Granted {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			if hints[reason] == "" {
				t.Errorf("%s: no hint", reason)
			}
			s := newScene(t)
			s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused { return no(reason) }})
			want := status.ReasonJoinRefused
			if a.status >= 429 || reason == BadNonce || reason == Replayed {
				want = status.ReasonJoinUnreached
			}
			s.mustFail(t, 10*time.Second, want, "10.0.0.4:3988", string(reason), a.message, hints[reason])
		})
	}
}

func TestClientUnknownReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused {
			return &refused{Refusal{"OfAnotherAge", "a\x1b[31mb\n" + strings.Repeat("x", 1000)}, 403, 0}
		}})
		s.mustFail(t, time.Minute, status.ReasonJoinRefused, "OfAnotherAge: a [31mb xxx", "xxx...")
	})
}

func TestClientUntrustedMasters(t *testing.T) {
	year := 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		cluster string
		signer  func(t *testing.T, s *scene) *pki.Authority
		words   []string
	}{
		"another cluster's name": {"other.example", func(_ *testing.T, s *scene) *pki.Authority { return s.authority },
			[]string{"join.internal.other.example", "seeds.json"}},
		"another authority": {clientCluster, func(t *testing.T, _ *scene) *pki.Authority { return freshAuthority(t, time.Now()) },
			[]string{"unknown authority", "seeds.json"}},
		"a clock in the past": {clientCluster, func(t *testing.T, s *scene) *pki.Authority {
			s.authority = freshAuthority(t, time.Now().Add(10*year))
			return s.authority
		}, []string{"not yet valid: this node's clock says 2000-01-01 00:00 UTC, and it counts from 20", "time synchronisation"}},
		"a clock in the future": {clientCluster, func(t *testing.T, s *scene) *pki.Authority {
			s.authority = freshAuthority(t, time.Now().Add(-10*year))
			return s.authority
		}, []string{"has expired: this node's clock says 2000-01-01 00:00 UTC", "time synchronisation"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, "10.0.0.4:3988")
				m := &fakeMaster{}
				s.serve(t, "10.0.0.4:3988", c.cluster, c.signer(t, s), m)
				s.mustFail(t, 5*time.Second, status.ReasonJoinUnreached, append(c.words, "10.0.0.4:3988: TLS: ")...)
				if m.nonces.Load() > 0 {
					t.Error("it was asked for a nonce")
				}
			})
		})
	}
}

func TestClientBadAnswers(t *testing.T) {
	foreign := func(b Body, n int) []byte { return signFor(freshAuthority(t, time.Now()), b.Requests[n]) }
	other := func(s *scene, change func(*pki.Spec)) []byte {
		csr, _ := pki.ParseCSR(s.requests[1].CSR)
		spec := pki.Spec{CommonName: csr.CommonName, Organizations: csr.Organizations, Names: csr.Names, Usages: []string{pki.Server}, Life: time.Hour}
		change(&spec)
		now := time.Now()
		if spec.Life < time.Hour {
			now = now.Add(-2 * time.Minute)
		}
		certificate, err := pki.Issue(s.authority, spec, csr.Public, now)
		if err != nil {
			t.Fatal(err)
		}
		return certificate.Raw
	}
	for name, c := range map[string]struct {
		change func(s *scene, b Body, a *Certificates)
		words  string
	}{
		"one too few":      {func(_ *scene, _ Body, a *Certificates) { a.Certificates = a.Certificates[:1] }, "1 certificates for 2"},
		"not DER":          {func(_ *scene, _ Body, a *Certificates) { a.Certificates[0] = []byte("x") }, "kubelet-client: x509"},
		"in another order": {func(_ *scene, _ Body, a *Certificates) { slices.Reverse(a.Certificates) }, "another key"},
		"another issuer":   {func(_ *scene, b Body, a *Certificates) { a.Certificates[1] = foreign(b, 1) }, "kubelet-serving: x509: certificate signed by unknown"},
		"another name": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.CommonName = "system:node:i-2" })
		}, `it is for "system:node:i-2"`},
		"another organization": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.Organizations = []string{"system:masters"} })
		}, "system:masters"},
		"fewer addresses": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.Names = p.Names[:1] })
		}, "its names are"},
		"another usage": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.Usages = []string{pki.Client} })
		}, "incompatible key usage"},
		"an authority of their own": {func(s *scene, _ Body, a *Certificates) {
			leaf, _ := x509.ParseCertificate(a.Certificates[0])
			leaf.IsCA, leaf.BasicConstraintsValid, leaf.KeyUsage = true, true, x509.KeyUsageCertSign
			der, err := x509.CreateCertificate(rand.Reader, leaf, s.authority.Certificates[0], leaf.PublicKey, s.authority.Key)
			if err != nil {
				t.Error(err)
			}
			a.Certificates[0] = der
		}, "it is an authority's"},
		"expired": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.Life = time.Minute })
		}, "has expired: this node's clock says"},
		"the authority itself": {func(s *scene, _ Body, a *Certificates) { a.Certificates[0] = s.authority.Certificates[0].Raw }, "another key"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
				var body Body
				m.refuse = func(_ *http.Request, b Body) *refused { body = b; return nil }
				m.answer = func(a *Certificates) { c.change(s, body, a) }
				s.mustFail(t, 10*time.Second, status.ReasonJoinUnreached, "10.0.0.4:3988: its answer is of no use: ", c.words)
				s.add(t, "10.0.0.5:3988", &fakeMaster{}) // one bad master does not keep the node out
				s.mustJoin(t, 10*time.Second)
			})
		})
	}
}

func TestClientNotTheProtocol(t *testing.T) {
	text := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	challenge := func(change func(*Challenge)) *fakeMaster { return &fakeMaster{challenge: change} }
	for name, c := range map[string]struct {
		master *fakeMaster
		words  string
	}{
		"a page":           {&fakeMaster{raw: text(200, "<html>")}, "not JSON"},
		"an error page":    {&fakeMaster{raw: text(502, "<html>")}, "it answered 502, and not in this protocol"},
		"a redirect":       {&fakeMaster{raw: text(307, "")}, "it answered 307"},
		"without end":      {&fakeMaster{raw: text(200, strings.Repeat(" ", maxAnswer+10))}, "not JSON"},
		"a hang":           {&fakeMaster{raw: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}, "nonce: no answer in time"},
		"a cut connection": {&fakeMaster{raw: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}, "nonce: unexpected EOF"},
		"version 2":        {challenge(func(c *Challenge) { c.Version = 2 }), "version 2"},
		"no time":          {challenge(func(c *Challenge) { c.Time = time.Time{} }), "without the master's time"},
		"a bad nonce":      {challenge(func(c *Challenge) { c.Nonce = "a\r\nHost: b" }), "cannot be signed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.add(t, "10.0.0.4:3988", c.master)
				s.mustFail(t, 15*time.Second, status.ReasonJoinUnreached, "10.0.0.4:3988: nonce: ", c.words)
			})
		})
	}
}

func TestClientWithoutMasters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.mustFail(t, time.Minute, status.ReasonJoinUnreached, "no master is known", "discovery/seeds.json")
		if seen := s.waits.seen; len(seen) != 2 || !strings.HasPrefix(seen[1], "join: a master's answer: no master is known (start a master") {
			t.Errorf("waits: %q", seen)
		}
		came := time.Now().Add(30 * time.Second)
		s.add(t, "10.0.0.4:3988", &fakeMaster{})
		s.client.Masters = func(context.Context) ([]string, error) {
			if time.Now().Before(came) {
				return nil, nil
			}
			return s.masters, nil
		}
		if took := s.mustJoin(t, 2*time.Minute); took < 30*time.Second || took > 50*time.Second {
			t.Errorf("took %v; the master came after 30 s", took)
		}
		s.client.Masters = func(context.Context) ([]string, error) {
			return nil, status.Fail(status.ReasonStoreDenied, "allow s3:GetObject", errors.New("seeds: 403"))
		}
		s.mustFail(t, time.Minute, status.ReasonStoreDenied, "masters: seeds: 403", "allow s3:GetObject")
	})
}

// TestClientRemembersMasters: what was known counts while discovery fails.
func TestClientRemembersMasters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
		looks := 0
		s.client.Masters = func(context.Context) ([]string, error) {
			if looks++; looks > 1 {
				return nil, errors.New("the store is away")
			}
			return s.masters, nil
		}
		m.refuse = func(*http.Request, Body) *refused {
			if m.joins.Load() == 1 {
				return no(UnknownInstance)
			}
			return nil
		}
		s.mustJoin(t, time.Minute)
	})
}

func TestClientCannotProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
		s.add(t, "10.0.0.5:3988", m)
		for _, c := range []struct {
			prove  func() (string, error)
			reason status.Reason
			words  string
		}{
			{func() (string, error) {
				return "", status.Fail(status.ReasonCredentials, "attach a profile", errors.New("no role"))
			}, status.ReasonCredentials, "proof: no role (attach a profile)"},
			{func() (string, error) { return "", errors.New("no clock") }, status.ReasonJoinUnreached, "proof: no clock"},
			{func() (string, error) { return strings.Repeat("x", MaxProof+1), nil }, status.ReasonJoinUnreached, "at most 8192"},
		} {
			s.client.Prove = func(context.Context, map[string]string, time.Time) (string, error) { return c.prove() }
			s.mustFail(t, time.Minute, c.reason, c.words)
		}
		if m.joins.Load() > 0 {
			t.Error("a master was asked without a proof")
		}
	})
}

func TestClientInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "10.0.0.4:3988")
		s.put("10.0.0.4:3988", hole)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		began := time.Now()
		_, err := s.client.Join(ctx, s.authority.Certificates, s.requests)
		if reason, _ := status.Explain(err); reason != status.ReasonInterrupted || time.Since(began) > 3*time.Second {
			t.Errorf("reason %s after %v: %v", reason, time.Since(began), err)
		}
	})
}

func TestClientHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "10.0.0.4:3988")
		began := time.Now()
		_, err := s.client.Join(t.Context(), s.authority.Certificates, s.requests)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != joinLimit {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if n := len(s.dialed); n < 60 || n > 400 {
			t.Errorf("%d connections in %v", n, joinLimit)
		}
		if !strings.Contains(err.Error(), "10.0.0.4:3988: connect: connect: connection refused") {
			t.Errorf("error: %v", err)
		}
	})
}

func TestClientBadRequest(t *testing.T) {
	s := newScene(t, "10.0.0.4:3988")
	s.requests[0].CSR = []byte("no CSR")
	if _, _, err := s.join(t, time.Minute); err == nil || !strings.Contains(err.Error(), "join: kubelet-client: CSR") {
		t.Errorf("error %v", err)
	}
}

// admission lets rate requests a second through, and a second's worth at once.
type admission struct {
	mu    sync.Mutex
	rate  float64
	left  float64
	since time.Time
}

func (a *admission) admit() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.left, a.since = min(a.rate, a.left+a.rate*now.Sub(a.since).Seconds()), now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// TestClientMassStart: many nodes that start at the same moment at one master neither hammer it nor wait for ever.
func TestClientMassStart(t *testing.T) {
	const nodes, rate = 120, 3
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		gate := &admission{rate: rate, left: rate, since: time.Now()}
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused {
			if gate.admit() {
				return nil
			}
			r := no(Busy)
			r.after = time.Second
			return r
		}})
		var all sync.WaitGroup
		began := time.Now()
		for n := range nodes {
			all.Go(func() {
				client := *s.client
				client.Instance, client.Logger = fmt.Sprintf("i-%d", n), nil
				if _, err := client.Join(t.Context(), s.authority.Certificates, s.requests); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		took, joins := time.Since(began), m.joins.Load()
		t.Logf("%d nodes at %d/s: the last after %v, %d requests", nodes, rate, took, joins)
		if ideal := nodes / rate * time.Second; took > 2*ideal+2*lastBusyPause {
			t.Errorf("the last node had its certificates after %v", took)
		}
		if joins > 10*nodes {
			t.Errorf("%d requests for %d nodes", joins, nodes)
		}
	})
}

// TestClientMassPauses is the same for 2,000 nodes and the pauses alone.
func TestClientMassPauses(t *testing.T) {
	const nodes, rate = 2000, 50
	synctest.Test(t, func(t *testing.T) {
		gate := &admission{rate: rate, left: rate, since: time.Now()}
		asked, worst := atomic.Int32{}, atomic.Int32{} // requests; of one second
		second := map[int]int32{}
		var mu sync.Mutex
		began := time.Now()
		var all sync.WaitGroup
		for range nodes {
			all.Go(func() {
				k := &seeker{}
				r := no(Busy)
				r.after = time.Second
				for {
					asked.Add(1)
					mu.Lock()
					n := int(time.Since(began) / time.Second)
					second[n]++
					if n > 0 && second[n] > worst.Load() {
						worst.Store(second[n])
					}
					mu.Unlock()
					if gate.admit() {
						return
					}
					time.Sleep(k.pause(r))
				}
			})
		}
		all.Wait()
		took := time.Since(began)
		t.Logf("%d nodes at %d/s: the last after %v, %d requests, after the first second at most %d/s", nodes, rate, took, asked.Load(), worst.Load())
		if took > 2*nodes/rate*time.Second || asked.Load() > 8*nodes || worst.Load() > nodes {
			t.Error("too long, or too many requests")
		}
	})
}
