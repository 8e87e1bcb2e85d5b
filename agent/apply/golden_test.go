package apply_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/host"
	"rekindle/agent/plan"
)

// anyStore has every object that a plan asks for, be its digest what it may.
type anyStore struct{ dir string }

func (s anyStore) Fetch(context.Context, []plan.Asset) error { return nil }

func (s anyStore) File(a plan.Asset) (string, string, error) {
	sum := a.SHA256
	if sum == "" {
		sum = hexSum(a.Object)
	}
	return filepath.Join(s.dir, "object"), sum, nil
}

type anySecret struct{}

func (anySecret) Read(_ context.Context, ref string) ([]byte, error) { return []byte(ref), nil }

// anyCerts issues every certificate, with the same bytes each time.
type anyCerts struct{}

func (anyCerts) Hold(_ context.Context, p *plan.Plan, _ bool) (held []apply.Held, warnings []string, err error) {
	hold := func(path string, mode plan.Mode) {
		if path != "" {
			held = append(held, apply.Held{File: apply.File{Path: path, Mode: mode, Content: []byte("of " + path)}})
		}
	}
	for _, authority := range p.Authorities {
		hold(authority.Path, 0o644)
		hold(authority.Key, 0o600)
		hold(authority.Signer, 0o644)
	}
	for _, cert := range p.Certs {
		hold(cert.Path, 0o600)
		hold(cert.Key, 0o600)
	}
	return held, nil, nil
}

// anyUnits has every unit.
type anyUnits struct{ *units }

func (u anyUnits) State(ctx context.Context, name string) (apply.UnitState, error) {
	u.known["image/"+name] = ""
	return u.units.State(ctx, name)
}

func unpackAny(_ context.Context, _, dir string) error {
	return os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o755)
}

func anyEngine(t testing.TB) *apply.Engine {
	h := host.New(t.TempDir())
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "object"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &apply.Engine{
		Host: h, Units: anyUnits{newUnits(h)}, Assets: anyStore{dir}, Etcd: &etcds{}, Certs: anyCerts{}, Secrets: anySecret{},
		Unpack: unpackAny,
	}
}

func readPlan(t testing.TB, file string) *plan.Plan {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := plan.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGolden applies every plan that package plan vouches for, twice.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("../plan/testdata/*/plan.golden.yaml")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no golden plans")
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			p, e := readPlan(t, file), anyEngine(t)
			began := time.Now()
			report, err := e.Apply(t.Context(), p)
			must(t, err)
			took := time.Since(began)
			again, err := e.Apply(t.Context(), p)
			must(t, err)
			if report.Empty() || !again.Empty() {
				t.Errorf("first: %d changes, second: %q", len(report.Changes), lines(again))
			}
			t.Logf("%d dirs, %d files, %d certificates, %d assets, %d units: %d changes in %s",
				len(p.Dirs), len(p.Files), len(p.Certs), len(p.Assets), len(p.Units), len(report.Changes), took)
		})
	}
}

// BenchmarkApply applies a master's plan to an empty machine, and BenchmarkAgain to one that has it.
func BenchmarkApply(b *testing.B) {
	p := readPlan(b, "../plan/testdata/master-aws/plan.golden.yaml")
	for b.Loop() {
		if _, err := anyEngine(b).Apply(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAgain(b *testing.B) {
	p, e := readPlan(b, "../plan/testdata/master-aws/plan.golden.yaml"), anyEngine(b)
	for b.Loop() {
		if _, err := e.Apply(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
}
