package apply_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"rekindle/agent/apply"
	"rekindle/agent/host"
	"rekindle/agent/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// units is systemd as far as the engine can tell. It knows the unit files as they were when it read them last.
type units struct {
	host    *host.Host
	known   map[string]string // unit files, by path
	active  map[string]string
	enabled map[string]bool
	kinds   map[string]string // by unit; "oneshot" ends at once
	broken  map[string]error
	jobs    []string
}

func newUnits(h *host.Host, present ...string) *units {
	u := &units{host: h, known: map[string]string{}, active: map[string]string{}, enabled: map[string]bool{}, kinds: map[string]string{}, broken: map[string]error{}}
	for _, name := range present {
		u.known["image/"+name] = ""
	}
	return u
}

func (u *units) Reload(context.Context) error {
	for p := range u.known {
		if !strings.HasPrefix(p, "image/") {
			delete(u.known, p)
		}
	}
	const dir = "/etc/systemd/system"
	names, err := u.host.List(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if data, err := u.host.Read(path.Join(dir, n)); err == nil {
			u.known[path.Join(dir, n)] = string(data)
		}
	}
	return nil
}

func (u *units) loaded(name string) bool {
	_, ours := u.known["/etc/systemd/system/"+name]
	_, image := u.known["image/"+name]
	return ours || image
}

func (u *units) State(_ context.Context, name string) (apply.UnitState, error) {
	st := apply.UnitState{Load: "loaded", Active: u.active[name], Type: u.kinds[name], File: "disabled"}
	if st.Active == "" {
		st.Active = "inactive"
	}
	if u.enabled[name] {
		st.File = "enabled"
	}
	if !u.loaded(name) {
		st.Load = "not-found"
	}
	return st, nil
}

func (u *units) Do(_ context.Context, verb, name string) error {
	u.jobs = append(u.jobs, verb+" "+name)
	switch err := u.broken[name]; {
	case verb == "stop":
		u.active[name] = "inactive"
	case !u.loaded(name):
		return errors.New("not found")
	case err != nil:
		u.active[name] = "failed"
		return err
	case u.kinds[name] != "oneshot":
		u.active[name] = "active"
	}
	return nil
}

func (u *units) Enable(_ context.Context, name string, on bool) (bool, error) {
	if on && !u.loaded(name) {
		return false, errors.New("not found")
	}
	changed := u.enabled[name] != on
	u.enabled[name] = on
	return changed, nil
}

func (u *units) did() []string {
	jobs := u.jobs
	u.jobs = nil
	return jobs
}

// store is a cache in a directory.
type store struct {
	dir     string
	err     error
	fetched []string
}

func (s *store) put(t *testing.T, object, content string) (sum string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(s.dir, object), []byte(content), 0o600))
	return hexSum(content)
}

func hexSum(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func (s *store) Fetch(_ context.Context, assets []plan.Asset) error {
	for _, a := range assets {
		s.fetched = append(s.fetched, a.Object)
	}
	return s.err
}

func (s *store) File(a plan.Asset) (string, string, error) {
	p := filepath.Join(s.dir, a.Object)
	data, err := os.ReadFile(p)
	return p, hexSum(string(data)), err
}

type etcds struct {
	err   error
	state string // initial-cluster-state, if any
	asked atomic.Int32
}

func (e *etcds) Prepare(_ context.Context, m plan.Etcd, _ func(string) ([]byte, error)) ([]byte, error) {
	e.asked.Add(1)
	config := "name: " + m.Member + "\n"
	if e.state != "" {
		config = "initial-cluster-state: " + e.state + "\n" + config
	}
	return []byte(config), e.err
}

type secrets map[string]string

func (s secrets) Read(_ context.Context, ref string) ([]byte, error) {
	v, ok := s[ref]
	if !ok {
		return nil, errors.New("403")
	}
	return []byte(v), nil
}

// unpack is a plain tar reader; refusing bad archives is package assets' business.
func unpack(_ context.Context, archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.Mkdir(p, fs.FileMode(h.Mode))
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, p)
		default:
			data, readErr := io.ReadAll(r)
			err = errors.Join(readErr, os.WriteFile(p, data, fs.FileMode(h.Mode)))
		}
		if err != nil {
			return err
		}
	}
}

// tarball holds names; "d/" is a directory, "a -> b" a link.
func tarball(t *testing.T, names ...string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, n := range names {
		h := &tar.Header{Name: n, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(n))}
		if link, to, ok := strings.Cut(n, " -> "); ok {
			h = &tar.Header{Name: link, Linkname: to, Typeflag: tar.TypeSymlink}
		} else if strings.HasSuffix(n, "/") {
			h = &tar.Header{Name: n, Mode: 0o755, Typeflag: tar.TypeDir}
		}
		must(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := io.WriteString(w, n)
			must(t, err)
		}
	}
	must(t, w.Close())
	return out.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node is a machine with an engine.
type node struct {
	*apply.Engine
	t     *testing.T
	host  *host.Host
	units *units
	store *store
	etcd  *etcds
	certs *issuer
}

func newNode(t *testing.T) *node {
	h := host.New(t.TempDir())
	n := &node{t: t, host: h, units: newUnits(h, "containerd.service"), store: &store{dir: t.TempDir()}, etcd: &etcds{}, certs: newIssuer(h)}
	n.Engine = n.engine(h, n.units)
	return n
}

func (n *node) engine(h apply.Host, u apply.Units) *apply.Engine {
	return &apply.Engine{Host: h, Units: u, Assets: n.store, Etcd: n.etcd, Certs: n.certs, Secrets: secrets{"ssm:/key": "hush"}, Unpack: unpack}
}

// apply applies and returns the changes as lines.
func (n *node) apply(p *plan.Plan) []string {
	n.t.Helper()
	report, err := n.Apply(n.t.Context(), p)
	must(n.t, err)
	return lines(report)
}

func lines(r apply.Report) []string {
	var out []string
	for _, c := range r.Changes {
		line := c.Action + " " + c.Kind + " " + c.Name
		if c.Drift {
			line += " (drift)"
		}
		out = append(out, line)
	}
	return out
}

func (n *node) want(what string, got []string, want ...string) {
	n.t.Helper()
	if !slices.Equal(got, want) {
		n.t.Fatalf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func (n *node) settled(p *plan.Plan) {
	n.t.Helper()
	n.want("applied again", n.apply(p))
}

// path is a real path, for the hands of those who change machines behind the agent's back.
func (n *node) path(p string) string {
	n.t.Helper()
	real, err := n.host.Path(p)
	must(n.t, err)
	return real
}

// tree is everything below the root, as text; the record's own stamps are no part of what a plan asks for.
func tree(t *testing.T, root string) string {
	t.Helper()
	var out strings.Builder
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, root)
		if name == apply.RecordPath {
			return nil
		}
		fmt.Fprintf(&out, "%s %s", info.Mode(), name)
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %q", data)
		case info.Mode().Type() == fs.ModeSymlink:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " -> %s", to)
		}
		out.WriteByte('\n')
		return nil
	}))
	return out.String()
}
