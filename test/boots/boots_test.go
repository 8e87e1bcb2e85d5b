// Package boots lets the real agent boot where something goes wrong: late or lost metadata, late, throttled or refused
// tags, a store that is cut off, a mirror that lies, an agent that is killed. Every test tells what happened and how
// long it took: go test -v ./boots.
package boots

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rekindle/agent/status"
	"rekindle/test/boots/site"
	"rekindle/test/cloud"
)

// bootLimit bounds every wait for a node, besides what the test delays itself. The machine may be slow and shared.
const bootLimit = 90 * time.Second

const region = "cn-north-1"

var (
	programs site.Programs
	stores   *site.Stores
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Most of these tests wait, and need no processor for it.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "boots")
	if err == nil {
		defer os.RemoveAll(dir)
		programs, err = site.Build(ctx, dir)
	}
	if err == nil {
		stores, err = site.OpenStores(ctx, filepath.Join(dir, "s3"), region)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stores.Close()
	return m.Run()
}

// place is a site with files to publish and a clock that tells how long things took.
type place struct {
	*site.Site
	t       *testing.T
	assets  string
	started time.Time
}

// newPlace opens a site whose store has a cluster and a role "node" with a file, which tests may add to before publish.
func newPlace(t *testing.T) *place {
	t.Helper()
	opened, err := site.Open(t.Context(), site.Options{Region: region, Dir: t.TempDir(), Programs: programs, Stores: stores})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &place{Site: opened, t: t, assets: t.TempDir(), started: time.Now()}
	p.file("cluster.yaml", "cluster: prod\nkubernetes: {version: \"1.37.2\"}\n")
	p.file("roles/node/role.yaml", "description: a file\n")
	p.file("roles/node/rootfs/etc/node.conf.tmpl", "zone={{ .Instance.Zone }}\n")
	return p
}

// file makes a file to publish.
func (p *place) file(path, content string) {
	p.t.Helper()
	path = filepath.Join(p.assets, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// noise makes a file to publish that does not compress, the same for the same seed.
func (p *place) noise(path string, size int, seed byte) {
	p.t.Helper()
	path = filepath.Join(p.assets, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	out, err := os.Create(path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	random := rand.NewChaCha8([32]byte{seed})
	block := make([]byte, 4<<20)
	for left := size; left > 0; left -= len(block) {
		block = block[:min(len(block), left)]
		if _, err := random.Read(block); err != nil {
			p.t.Fatal(err)
		}
		if _, err := out.Write(block); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *place) publish() {
	p.t.Helper()
	if _, err := p.Publish(p.t.Context(), p.assets, p.Store()); err != nil {
		p.t.Fatal(err)
	}
}

// launch makes an instance with the role node, whose tags IMDS serves if they are in the spec's options.
func (p *place) launch(name string, spec cloud.InstanceSpec, config map[string]any, args ...string) *site.Machine {
	p.t.Helper()
	spec.Tags = map[string]string{"rekindle:role": "node"}
	spec.UserData = []byte("store: " + p.Store() + "\n")
	m, err := p.Launch(name, spec, config, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if p.t.Failed() {
			said, _ := os.ReadFile(m.Log)
			p.t.Logf("%s said:\n%s", name, said)
		}
	})
	return m
}

// tagged serves tags through IMDS.
var tagged = cloud.InstanceSpec{Metadata: cloud.MetadataOptions{Tags: true}}

func (p *place) serve(m *site.Machine) {
	p.t.Helper()
	if err := m.ServeMetadata(p.t.Context(), 1); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) start(m *site.Machine) {
	p.t.Helper()
	p.started = time.Now()
	if err := m.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// ready waits until the node is, and returns how long the agent that is ready took, by its own account.
func (p *place) ready(m *site.Machine) *status.Status {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), bootLimit)
	defer cancel()
	now, err := m.Ready(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	return now
}

// failed waits until the boot has failed, and returns what it said.
func (p *place) failed(m *site.Machine) *status.Status {
	p.t.Helper()
	return p.until(m, "failed", func(now *status.Status) bool { return now.State == status.StateFailed })
}

// waits waits until the node says that it waits for something with this name.
func (p *place) waits(m *site.Machine, name string) status.Pending {
	p.t.Helper()
	find := func(now *status.Status) int {
		return slices.IndexFunc(now.Waits, func(w status.Pending) bool { return strings.HasPrefix(w.Name, name) })
	}
	now := p.until(m, "a wait "+name, func(now *status.Status) bool { return find(now) >= 0 })
	if now.State != status.StateBooting || now.ExitCode() != 3 {
		p.t.Errorf("state %s, exit code %d while waiting; want booting, 3", now.State, now.ExitCode())
	}
	return now.Waits[find(now)]
}

func (p *place) until(m *site.Machine, what string, done func(*status.Status) bool) *status.Status {
	p.t.Helper()
	var last *status.Status
	for end := time.Now().Add(bootLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		now, err := m.Status()
		if err != nil {
			continue
		}
		if last = now; done(now) {
			return now
		}
	}
	p.t.Fatalf("no %s within %s: %+v", what, bootLimit, last)
	return nil
}

// took is the time since the agent was started.
func (p *place) took() time.Duration { return time.Since(p.started).Round(10 * time.Millisecond) }

// tell is the line of a test.
func (p *place) tell(format string, args ...any) {
	p.t.Helper()
	p.t.Logf("%s: %s", p.took(), fmt.Sprintf(format, args...))
}
