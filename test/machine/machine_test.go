//go:build machine

// Package machine runs the agent where it belongs: installed by its package, as a unit of a real systemd that is PID 1.
// It needs root, systemd-nspawn and debootstrap, and takes minutes: go test -tags machine ./machine.
package machine

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rekindle/test/boots/site"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/node"
	"rekindle/test/machine/nspawn"
)

const (
	region    = "cn-north-1"
	baseDir   = "/var/tmp/rekindle-machine" // kept: it is the same for all
	patience  = 90 * time.Second            // bounds every wait
	lookAgain = 100 * time.Millisecond
)

// What all tests share.
var (
	base     string
	packages struct{ old, new, rpm string } // paths
	held     string
	service  string // rekindle.service in this repository
	programs site.Programs
	stores   *site.Stores
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	dir, err := os.MkdirTemp("/var/tmp", "machine-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(ctx, dir)
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

// prepare makes the base tree, the programs, and packages of two versions.
func prepare(ctx context.Context, dir string) error {
	if err := node.Adopt(); err != nil {
		return err
	}
	agent := os.Getenv("REKINDLE_BIN")
	if agent == "" {
		agent = filepath.Join("..", "..", "bin", "rekindle")
	}
	agent, err := filepath.Abs(agent)
	if err != nil {
		return err
	}
	if service, err = filepath.Abs(filepath.Join("..", "..", "systemd", "rekindle.service")); err != nil {
		return err
	}
	if base, err = nspawn.Base(ctx, baseDir); err != nil {
		return err
	}
	if programs, err = binaries.Build(ctx, filepath.Join("..", "..", "out", "lab-bin"), agent, binaries.Default); err != nil {
		return err
	}
	held = filepath.Join(dir, "held")
	build := exec.CommandContext(ctx, "go", "build", "-o", held, "./held")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./held: %w\n%s", err, out)
	}
	for version, how := range map[string][]string{"v0.1.0": nil, "v0.1.0-3-gabcdef0": {"PACKAGERS=deb", "COMPRESSION=gzip"}} {
		pack := exec.CommandContext(ctx, "systemd/package/build.sh", agent, version, "amd64", filepath.Join(dir, "packages"))
		pack.Dir, pack.Env = filepath.Join("..", ".."), append(os.Environ(), how...)
		if out, err := pack.CombinedOutput(); err != nil {
			return fmt.Errorf("build.sh: %w\n%s", err, out)
		}
	}
	packages.old = filepath.Join(dir, "packages", "rekindle_0.1.0-1_amd64.deb")
	packages.new = filepath.Join(dir, "packages", "rekindle_0.1.0+3.gabcdef0-1_amd64.deb")
	packages.rpm = filepath.Join(dir, "packages", "rekindle-0.1.0-1.x86_64.rpm")
	return nil
}

// machine is one with the words of tests.
type machine struct {
	*nspawn.Machine
	t *testing.T
}

// newMachine makes a disk with the old package on it, by the package manager of the disk, as an image is made.
func newMachine(t *testing.T, o nspawn.Options) *machine {
	t.Helper()
	m := blank(t, o)
	m.copy(packages.old, "/root/old.deb")
	m.copy(packages.new, "/root/new.deb")
	m.copy(held, "/usr/local/bin/held")
	m.chroot("dpkg", "--install", "/root/old.deb")
	return m
}

// blank makes a disk without the package.
func blank(t *testing.T, o nspawn.Options) *machine {
	t.Helper()
	var err error
	o.Base = base
	o.Name = strings.ToLower(t.Name())
	if o.Dir, err = os.MkdirTemp("/var/tmp", "machine-disk-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(o.Dir) })
	made, err := nspawn.New(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{made, t}
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := m.Run(context.Background(), "journalctl", "--no-pager", "-o", "short-monotonic", "-t", "rekindle", "-t", "systemctl", "-n", "60")
			t.Logf("the journal of %s:\n%s", m.Name, said)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *machine) copy(from, to string) {
	m.t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = m.Place(to, data, 0o755)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// chroot runs a command on the disk of a machine that is off.
func (m *machine) chroot(command ...string) string {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), "chroot", append([]string{m.Root}, command...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LANG=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *machine) boot() {
	m.t.Helper()
	if err := m.Boot(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// run runs a command that must succeed.
func (m *machine) run(command ...string) string {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), command...)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// property is one of a unit, as `systemctl show` prints it.
func (m *machine) property(unit, name string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--property="+name, "--value", unit)
}

// until waits until a unit's property is so.
func (m *machine) until(unit, name, want string) {
	m.t.Helper()
	m.eventually(fmt.Sprintf("%s of %s is %s", name, unit, want), func() bool { return m.property(unit, name) == want })
}

func (m *machine) eventually(what string, done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(lookAgain) {
		if done() {
			return
		}
	}
	m.t.Fatalf("not within %s: %s", patience, what)
}

// journal is what the journal has of a unit, or of all.
func (m *machine) journal(args ...string) string {
	m.t.Helper()
	return m.run(append([]string{"journalctl", "--no-pager", "--quiet", "-o", "short-monotonic"}, args...)...)
}

// noCycle fails if systemd had to break the order of units.
func (m *machine) noCycle() {
	m.t.Helper()
	for line := range strings.Lines(m.journal("-b")) {
		if strings.Contains(line, "ordering cycle") || strings.Contains(line, "deleted to break") {
			m.t.Error(strings.TrimSpace(line))
		}
	}
}

// instead lets rekindle.service run another command than the agent.
func (m *machine) instead(command string, more ...string) {
	m.t.Helper()
	text := "[Service]\nExecStart=\nExecStart=" + command + "\n" + strings.Join(more, "\n") + "\n"
	if err := m.Write("/etc/systemd/system/rekindle.service.d/50-instead.conf", text); err != nil {
		m.t.Fatal(err)
	}
}
