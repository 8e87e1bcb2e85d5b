package pki

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"maps"
	"sync"
	"testing"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
)

// testDisk is a node's files.
type testDisk map[string][]byte

func (d testDisk) read(path string) ([]byte, error) {
	data, ok := d[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

// write is what apply does with what a Holder returns.
func (d testDisk) write(held []apply.Held) {
	for _, file := range held {
		d[file.Path] = file.Content
	}
}

// testSource is a store with authorities in it.
type testSource struct {
	mu          sync.Mutex
	authorities map[string]*Authority
	err         error         // instead of any answer
	slow        time.Duration // before any answer
	privates    int
}

// get is the authority, or nil, once the answer is there.
func (s *testSource) get(ctx context.Context, name string) (*Authority, error) {
	if s.slow > 0 { // timers that are due at once, of several goroutines of a bubble, break the race detector: golang/go#78156
		select {
		case <-time.After(s.slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.authorities[name], s.err
}

// set changes what the store has.
func (s *testSource) set(name string, a *Authority) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authorities[name] = a
}

func (s *testSource) Private(ctx context.Context, name string) (*Authority, error) {
	s.mu.Lock()
	s.privates++
	s.mu.Unlock()
	a, err := s.get(ctx, name)
	if a != nil || err != nil {
		return a, err
	}
	return nil, errors.New("nobody creates authorities in this test")
}

func (s *testSource) Public(ctx context.Context, name string) (*Authority, error) {
	a, err := s.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, ErrAbsent
	}
	public := *a
	public.Key = nil
	return &public, nil
}

// testMaster signs what is asked for, as masters do: by the name of the request.
type testMaster struct {
	source *testSource
	specs  map[string]Spec
	err    error
	calls  int
	asked  []string         // the names of the last request
	alter  func(spec *Spec) // what it signs is not what it was asked for
	ahead  time.Duration    // its clock
	never  bool             // it does not answer
}

func (m *testMaster) Join(ctx context.Context, roots []*x509.Certificate, requests []Request) ([][]byte, error) {
	m.calls++
	if m.never {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if m.err != nil {
		return nil, m.err
	}
	authority, err := m.source.get(ctx, Kubernetes)
	if err != nil {
		return nil, err
	}
	m.asked = nil
	var signed [][]byte
	for _, request := range requests {
		m.asked = append(m.asked, request.Name)
		csr, err := ParseCSR(request.CSR)
		if err != nil {
			return nil, err
		}
		spec := m.specs[request.Name]
		if err := csr.Matches(spec); err != nil {
			return nil, err
		}
		if m.alter != nil {
			m.alter(&spec)
		}
		cert, err := Issue(authority, spec, csr.Public, time.Now().Add(m.ahead))
		if err != nil {
			return nil, err
		}
		if issuerOf(cert, roots) == nil {
			return nil, errors.New("the node does not trust this master")
		}
		signed = append(signed, cert.Raw)
	}
	return signed, nil
}

const testLife = "720h0m0s"

// masterPlan has one certificate of each form.
func masterPlan() *plan.Plan {
	return &plan.Plan{
		Authorities: []plan.Authority{
			{Name: Kubernetes, Path: "/etc/kubernetes/pki/ca.crt", Key: "/etc/kubernetes/pki/ca.key", Signer: "/etc/kubernetes/pki/signer.crt"},
			{Name: ServiceAccount, Path: "/etc/kubernetes/pki/sa.pub", Key: "/etc/kubernetes/pki/sa.key"},
		},
		Certs: []plan.Cert{
			{Path: "/etc/kubernetes/pki/apiserver.crt", Key: "/etc/kubernetes/pki/apiserver.key", Authority: Kubernetes, CommonName: "kube-apiserver",
				Names: []string{"10.0.0.1", "kubernetes"}, Usages: []string{Server}, Life: testLife},
			{Path: "/etc/kubernetes/admin.conf", Authority: Kubernetes, CommonName: "kubernetes-admin", Organizations: []string{"system:masters"},
				Usages: []string{Client}, Life: testLife, Kubeconfig: "https://10.0.0.1:6443"},
			{Path: "/var/lib/kubelet/pki/kubelet-client.pem", Authority: Kubernetes, CommonName: "system:node:i-1",
				Organizations: []string{"system:nodes"}, Usages: []string{Client}, Life: testLife},
		},
	}
}

func minionPlan() *plan.Plan {
	return &plan.Plan{
		Authorities: []plan.Authority{{Name: Kubernetes, Path: "/etc/kubernetes/pki/ca.crt"}},
		Certs: []plan.Cert{
			{Path: "/var/lib/kubelet/pki/kubelet-client.pem", Authority: Kubernetes, CommonName: "system:node:i-2",
				Organizations: []string{"system:nodes"}, Usages: []string{Client}, Life: testLife, Join: "kubelet-client"},
			{Path: "/var/lib/kubelet/pki/kubelet.crt", Key: "/var/lib/kubelet/pki/kubelet.key", Authority: Kubernetes, CommonName: "system:node:i-2",
				Organizations: []string{"system:nodes"}, Names: []string{"10.0.0.2"}, Usages: []string{Server}, Life: testLife, Join: "kubelet-serving"},
		},
	}
}

func newSource(t testing.TB) *testSource {
	t.Helper()
	s := &testSource{authorities: map[string]*Authority{}}
	for _, name := range Names {
		s.authorities[name] = testAuthority(t, name, 3650*testDay, time.Now())
	}
	return s
}

func newMaster(t testing.TB, source *testSource, p *plan.Plan) *testMaster {
	t.Helper()
	m := &testMaster{source: source, specs: map[string]Spec{}}
	for _, cert := range p.Certs {
		spec, err := SpecOf(cert)
		if err != nil {
			t.Fatal(err)
		}
		m.specs[cert.Join] = spec
	}
	return m
}

// hold holds a plan and writes what came of it; it returns the paths that are new, and why.
func hold(t testing.TB, h *Holder, disk testDisk, p *plan.Plan) (fresh map[string]string, warnings []string) {
	t.Helper()
	held, warnings, err := h.Hold(t.Context(), p, false)
	if err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(disk)
	disk.write(held)
	fresh = map[string]string{}
	for _, file := range held {
		if file.Why != "" {
			fresh[file.Path] = file.Why
		}
		if same := string(before[file.Path]) == string(file.Content); same != (file.Why == "") {
			t.Errorf("%s: same content: %v, why: %q", file.Path, same, file.Why)
		}
	}
	return fresh, warnings
}
