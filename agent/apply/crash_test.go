package apply_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
)

// faulty breaks at one operation that changes something: it fails there, or the agent is killed there (a panic),
// before the operation or after it.
type faulty struct {
	apply.Host
	apply.Units
	at    int // the operation to break at, from 1
	kill  bool
	after bool
	count int
}

var errFault = errors.New("fault")

func (f *faulty) op(do func() error) error {
	f.count++
	broken := f.count == f.at
	if broken && !f.after {
		return f.breakDown()
	}
	if f.count > f.at && f.at > 0 && f.kill {
		panic("an operation after the kill")
	}
	err := do()
	if broken && err == nil {
		return f.breakDown()
	}
	return err
}

func (f *faulty) breakDown() error {
	if f.kill {
		panic(errFault)
	}
	return errFault
}

func (f *faulty) Mkdir(p string, m plan.Mode) error {
	return f.op(func() error { return f.Host.Mkdir(p, m) })
}

func (f *faulty) Chmod(p string, m plan.Mode) error {
	return f.op(func() error { return f.Host.Chmod(p, m) })
}

func (f *faulty) Write(ctx context.Context, files ...apply.File) (written []string, err error) {
	if len(files) < 2 {
		err = f.op(func() error { written, err = f.Host.Write(ctx, files...); return err })
		return written, err
	}
	for _, file := range files { // so that it can break between any two renames
		err := f.op(func() error { w, err := f.Host.Write(ctx, file); written = append(written, w...); return err })
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (f *faulty) Block(ctx context.Context, p, marker string, content []byte) (changed bool, err error) {
	err = f.op(func() error { changed, err = f.Host.Block(ctx, p, marker, content); return err })
	return changed, err
}

func (f *faulty) Sync(ctx context.Context, p ...string) error {
	return f.op(func() error { return f.Host.Sync(ctx, p...) })
}
func (f *faulty) Remove(p string) error { return f.op(func() error { return f.Host.Remove(p) }) }
func (f *faulty) RemoveAll(p string) error {
	return f.op(func() error { return f.Host.RemoveAll(p) })
}
func (f *faulty) Sweep(p ...string) error { return f.op(func() error { return f.Host.Sweep(p...) }) }

func (f *faulty) Reload(ctx context.Context) error {
	return f.op(func() error { return f.Units.Reload(ctx) })
}

func (f *faulty) Do(ctx context.Context, verb, name string) error {
	return f.op(func() error { return f.Units.Do(ctx, verb, name) })
}

func (f *faulty) Enable(ctx context.Context, name string, on bool) (changed bool, err error) {
	err = f.op(func() error { changed, err = f.Units.Enable(ctx, name, on); return err })
	return changed, err
}

// attempt applies until the fault, and says whether it came to it.
func (f *faulty) attempt(t *testing.T, n *node, p *plan.Plan) (broke bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			if err, ok := r.(error); !ok || !errors.Is(err, errFault) {
				panic(r)
			}
			broke = true
		}
	}()
	_, err := n.engine(f, f).Apply(t.Context(), p)
	if err != nil && !errors.Is(err, errFault) {
		t.Fatal(err)
	}
	return f.count >= f.at
}

// successor is a plan that changes, adds and drops something of each kind.
func successor(t *testing.T, n *node) *plan.Plan {
	p := master(t, n)
	p.Dirs = append(p.Dirs[:1], plan.Dir{Path: "/srv/new", Mode: 0o711})
	p.Assets[0].SHA256 = n.store.put(t, "kubelet2", "#!kubelet 2")
	p.Assets[0].Object = "kubelet2"
	p.Assets[1].Object = "cni2.tar"
	p.Assets[1].SHA256 = n.store.put(t, "cni2.tar", tarball(t, "bridge", "ptp", "dir/", "dir/x"))
	p.Files[3].Content += "maxPods: 3\n"
	p.Files[4].Mode = 0o640
	p.Files = append(slices.Delete(p.Files, 1, 3), plan.File{Path: "/etc/systemd/system/new.service", Mode: 0o644, Content: "[Service]\n"})
	p.Units = append(slices.Delete(p.Units, 1, 2), plan.Unit{Name: "new.service", State: plan.Started, Enable: true})
	return p
}

// renewed adds a rotated authority, a certificate that is due, one with other names, a new one and a dropped one.
func renewed(n *node, p *plan.Plan) *plan.Plan {
	authorized(p)
	n.certs.authorities["etcd"]++
	n.certs.age(adminConf)
	p.Certs[0].Names = []string{"127.0.0.1", "10.0.0.1"}
	p.Certs = append(p.Certs, plan.Cert{Path: "/etc/kubernetes/pki/etcd/peer.crt", Key: "/etc/kubernetes/pki/etcd/peer.key", Authority: "etcd"})
	p.Files = append(p.Files, plan.File{Path: manifest, Content: "# @inputs@\n", Inputs: []string{caCrt}})
	return p
}

// unnumbered is a tree in which it does not matter how often something was issued.
func unnumbered(tree string) string {
	return regexp.MustCompile(`("SECRET /|CERT )(.*)#\d+`).ReplaceAllString(tree, "$1$2#n")
}

// soundKeys looks for private keys that are not whole, or that others can read, temporary files included.
func soundKeys(n *node, when string) {
	n.t.Helper()
	must(n.t, filepath.WalkDir(n.host.Root()+"/etc", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || d.IsDir() {
			return nil
		}
		data, readErr := os.ReadFile(p)
		info, infoErr := d.Info()
		if err := errors.Join(err, readErr, infoErr); err != nil {
			return err
		}
		secret := strings.HasSuffix(p, ".key") || strings.HasSuffix(p, ".conf") && strings.Contains(p, "admin")
		if secret && (info.Mode() != 0o600 || !strings.HasSuffix(string(data), "\n")) || !secret && strings.Contains(string(data), "SECRET") {
			n.t.Errorf("%s: %s %s %q", when, info.Mode(), p, data)
		}
		return nil
	}))
}

// pairs compares certificates with their keys.
func pairs(n *node) {
	n.t.Helper()
	for _, name := range []string{"ca", "server", "peer"} {
		base := "/etc/kubernetes/pki/etcd/" + name
		key, keyed := serialOf(n.certs.read(base + ".key"))
		crt, certified := serialOf(n.certs.read(base + ".crt"))
		if key != crt || keyed != certified {
			n.t.Errorf("%s: key %d, certificate %d", base, key, crt)
		}
	}
}

// TestCrash breaks an apply at each of its operations in turn, and has the next one complete it.
func TestCrash(t *testing.T) {
	for _, mode := range []struct {
		name        string
		kill, after bool
	}{{"error", false, false}, {"kill", true, true}} {
		for _, update := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/update=%v", mode.name, update), func(t *testing.T) {
				t.Parallel()
				start := func(t *testing.T) (*node, *plan.Plan) {
					n := newNode(t)
					n.units.kinds["import.service"] = "oneshot"
					p := authorized(master(t, n))
					p.Files = append(p.Files, plan.File{Path: manifest, Content: "# @inputs@\n", Inputs: []string{caCrt}})
					if !update {
						return n, p
					}
					n.apply(p)
					n.units.did()
					return n, renewed(n, successor(t, n))
				}
				n, p := start(t)
				n.apply(p)
				clean := unnumbered(tree(t, n.host.Root()))
				cleanUnits := fmt.Sprint(n.units.active, n.units.enabled)
				for at := 1; ; at++ {
					n, p := start(t)
					f := &faulty{Host: n.host, Units: n.units, at: at, kill: mode.kill, after: mode.after}
					if !f.attempt(t, n, p) {
						if at < 20 {
							t.Fatalf("only %d operations were seen", at)
						}
						return
					}
					soundKeys(n, fmt.Sprintf("after a fault at %d", at))
					again, err := n.engine(n.host, n.units).Apply(t.Context(), p)
					if err != nil {
						t.Fatalf("after a fault at %d: %v", at, err)
					}
					pairs(n)
					if now := unnumbered(tree(t, n.host.Root())); now != clean {
						t.Fatalf("after a fault at %d the tree differs:\n%s\nwant\n%s\nrepaired: %q", at, now, clean, lines(again))
					}
					if now := fmt.Sprint(n.units.active, n.units.enabled); now != cleanUnits {
						t.Fatalf("after a fault at %d: %s\nwant %s", at, now, cleanUnits)
					}
					if update && slices.Contains(n.units.did(), "restart kubelet.service") == false {
						t.Fatalf("after a fault at %d the kubelet still runs with its old inputs; repaired: %q", at, lines(again))
					}
					for _, line := range lines(again) {
						if strings.Contains(line, "drift") {
							t.Errorf("after a fault at %d: %s is no drift", at, line)
						}
					}
					n.want(fmt.Sprintf("once more after a fault at %d", at), n.apply(p))
				}
			})
		}
	}
}

// TestCrashThenAnotherPlan leaves nothing of a plan that was cut, when the operator gives up on it.
func TestCrashThenAnotherPlan(t *testing.T) {
	t.Parallel()
	n, p := first(t)
	clean := tree(t, n.host.Root())
	for at := 1; ; at++ {
		n, _ := first(t)
		f := &faulty{Host: n.host, Units: n.units, at: at, kill: true, after: true}
		if !f.attempt(t, n, successor(t, n)) {
			return
		}
		if _, err := n.engine(n.host, n.units).Apply(t.Context(), p); err != nil {
			t.Fatalf("after a fault at %d: %v", at, err)
		}
		if now := tree(t, n.host.Root()); now != clean {
			t.Fatalf("after a fault at %d the tree differs:\n%s\nwant\n%s", at, now, clean)
		}
	}
}

// TestCrashDuringRepair breaks the repair of a file that somebody edited. The unit may have read the edit, and the plan
// is the one that it was started with, so that nothing but the record says that it has to be restarted.
func TestCrashDuringRepair(t *testing.T) {
	for at := 1; ; at++ {
		n, p := first(t)
		must(t, os.WriteFile(n.path(kubeletConf), []byte("edited"), 0o600))
		f := &faulty{Host: n.host, Units: n.units, at: at, kill: true, after: true}
		if !f.attempt(t, n, p) {
			return
		}
		n.apply(p)
		if jobs := n.units.did(); !slices.Contains(jobs, "restart kubelet.service") {
			t.Fatalf("after a fault at %d: jobs %q", at, jobs)
		}
		n.settled(p)
	}
}

// halfWritten is killed in the middle of writing several files.
type halfWritten struct {
	apply.Host
	n *node
}

func (h halfWritten) Write(ctx context.Context, files ...apply.File) ([]string, error) {
	if len(files) < 2 {
		return h.Host.Write(ctx, files...)
	}
	for _, left := range []string{"/etc/systemd/system/.new.service.rekindle", "/etc/kubernetes/.etcd.yaml.rekindle", "/etc/kubernetes/pki/etcd/.peer.key.rekindle"} {
		must(h.n.t, os.WriteFile(h.n.path(left), []byte("half"), 0o600))
	}
	panic(errFault)
}

func TestCrashLeavesTemporaryFiles(t *testing.T) {
	n, p := first(t)
	n.apply(authorized(p))
	clean := unnumbered(tree(t, n.host.Root()))
	f := &faulty{Host: halfWritten{n.host, n}, Units: n.units}
	func() {
		defer func() { _ = recover() }()
		_, _ = n.engine(f.Host, f.Units).Apply(t.Context(), renewed(n, successor(t, n)))
		t.Fatal("not cut")
	}()
	n.certs.authorities["etcd"]--
	n.apply(p)
	if now := unnumbered(tree(t, n.host.Root())); now != clean {
		t.Errorf("the tree differs:\n%s\nwant\n%s", now, clean)
	}
}
