package join

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rekindle/agent/pki"
	"rekindle/agent/status"
)

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
