// Package nspawn boots directories as machines: systemd is PID 1 there, with cgroups, mounts and processes of its own,
// by systemd-nspawn. It needs root. A machine's disk is an overlay of a base tree, so that a machine costs what it
// writes, and the disk outlives reboots.
package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what machine this is. Name, Base and Dir are required.
type Options struct {
	Name           string            // unique on this host while it runs
	Base           string            // the tree that every machine begins with, never written to; or several, a:b, a over b
	Dir            string            // absolute, exists; gets the machine's disk and the log of its console
	Files          map[string]string // by path on the machine: put on the disk before the first boot
	PrivateNetwork bool              // only a loopback interface of its own; else the host's network
	Namespace      string            // path of the network namespace that it is in; not together with PrivateNetwork
}

// Machine is one of them. Path, Leader and Run may be called from any goroutine, the other methods from one at a time.
type Machine struct {
	Options
	Root    string // its file system, on the host
	Console string // file with what it wrote to its console, all boots

	spawned *exec.Cmd
	ended   chan struct{} // closed when it ended
	leader  atomic.Int64  // its PID 1, on the host; 0: it does not run
}

// Time limits of a machine.
const (
	bootLimit = 60 * time.Second // until PID 1 answers
	stopLimit = 30 * time.Second
	lookAgain = 50 * time.Millisecond
)

// New makes the disk.
func New(o Options) (*Machine, error) {
	m := &Machine{Options: o, Root: filepath.Join(o.Dir, "root"), Console: filepath.Join(o.Dir, "console.log")}
	upper, work := filepath.Join(o.Dir, "disk"), filepath.Join(o.Dir, "work")
	for _, dir := range []string{m.Root, upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("machine %s: %w", o.Name, err)
		}
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", o.Base, upper, work)
	if err := unix.Mount("overlay", m.Root, "overlay", 0, layers); err != nil {
		return nil, fmt.Errorf("machine %s: mount an overlay of %s: %w", o.Name, o.Base, err)
	}
	for path, text := range o.Files {
		if err := m.Write(path, text); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// Write puts a file on the disk.
func (m *Machine) Write(path, text string) error { return m.Place(path, []byte(text), 0o644) }

// Place is Write with a mode.
func (m *Machine) Place(path string, data []byte, mode fs.FileMode) error {
	path = filepath.Join(m.Root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	return nil
}

// Boot starts the machine and waits until systemd answers there. Its units are then being started.
func (m *Machine) Boot(ctx context.Context) error {
	group, err := m.cgroup()
	if err != nil {
		return err
	}
	defer group.Close()
	console, err := os.OpenFile(m.Console, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	defer console.Close() // the process has its own copy
	args := []string{
		"--directory=" + m.Root, "--machine=" + m.Name, "--boot", "--quiet", "--register=no", "--keep-unit",
		"--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
	}
	if m.PrivateNetwork {
		args = append(args, "--private-network")
	}
	if m.Namespace != "" {
		args = append(args, "--network-namespace-path="+m.Namespace)
	}
	cmd := exec.Command("systemd-nspawn", args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	m.spawned, m.ended = cmd, make(chan struct{})
	go func(ended chan<- struct{}) {
		_ = cmd.Wait() // how it ended is in its ProcessState
		close(ended)
	}(m.ended)
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("no PID 1 after %s, see %s", bootLimit, m.Console))
	defer cancel()
	for {
		leader, err := m.first()
		m.leader.Store(int64(leader))
		if err == nil && leader != 0 {
			if _, err = m.Run(ctx, "systemctl", "show", "--property=Version"); err == nil {
				return nil
			}
		}
		select {
		case <-m.ended:
			m.spawned = nil
			said, _ := os.ReadFile(m.Console)
			return fmt.Errorf("machine %s: systemd-nspawn: %s: %s", m.Name, cmd.ProcessState, said)
		case <-ctx.Done():
			return fmt.Errorf("machine %s: %w: %w", m.Name, context.Cause(ctx), err)
		case <-time.After(lookAgain):
		}
	}
}

func (m *Machine) cgroupDir() string {
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(top, "unified")); err == nil { // a hybrid of both versions
		top = filepath.Join(top, "unified")
	}
	return filepath.Join(top, "machine-"+m.Name)
}

// ungroup removes the groups that the machine left, children first.
func (m *Machine) ungroup() error {
	var dirs []string
	err := filepath.WalkDir(m.cgroupDir(), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// cgroup makes a group for the machine: its systemd takes the group that it starts in for the root of all.
func (m *Machine) cgroup() (*os.File, error) {
	dir := m.cgroupDir()
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("machine %s: %w (cgroup version 2 is needed)", m.Name, err)
	}
	return os.Open(dir)
}

// first is the machine's PID 1, 0 while there is none: the child of nspawn that leads a PID namespace.
func (m *Machine) first() (int, error) {
	pid := strconv.Itoa(m.spawned.Process.Pid)
	children, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
	if err != nil {
		return 0, err
	}
	for _, child := range strings.Fields(string(children)) {
		status, err := os.ReadFile(filepath.Join("/proc", child, "status"))
		if err != nil {
			continue // it ended
		}
		for line := range strings.Lines(string(status)) {
			if all, ok := strings.CutPrefix(line, "NSpid:"); ok && strings.HasSuffix(strings.TrimSpace(all), "\t1") {
				return strconv.Atoi(child)
			}
		}
	}
	return 0, nil
}

// Path is where a path of the running machine is on the host, with what is mounted there. Root is its disk alone.
func (m *Machine) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(m.Leader()), "root", path)
}

// Leader is the machine's PID 1, by its number on the host; 0 while there is none.
func (m *Machine) Leader() int { return int(m.leader.Load()) }

// Run runs a command on the machine and returns what it printed, without the last line break.
func (m *Machine) Run(ctx context.Context, command ...string) (string, error) {
	args := []string{"--target", strconv.Itoa(m.Leader()), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(args, command...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := strings.TrimRight(out.String(), "\n")
	if err != nil {
		return text, fmt.Errorf("machine %s: %s: %w: %s", m.Name, strings.Join(command, " "), err, text)
	}
	return text, nil
}

// PowerOff shuts the machine down in order.
func (m *Machine) PowerOff(ctx context.Context) error {
	if m.spawned == nil {
		return nil
	}
	if err := syscall.Kill(m.Leader(), syscall.Signal(34+4)); err != nil { // systemd(1): poweroff
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	return m.gone(ctx)
}

// Kill takes the machine's power away.
func (m *Machine) Kill(ctx context.Context) error {
	if m.spawned == nil {
		return nil
	}
	pid := m.Leader()
	if pid == 0 {
		pid = m.spawned.Process.Pid
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	return m.gone(ctx)
}

func (m *Machine) gone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	for {
		reap()
		select {
		case <-m.ended:
			m.spawned = nil
			m.leader.Store(0)
			return m.ungroup()
		case <-ctx.Done():
			return fmt.Errorf("machine %s does not end: %w", m.Name, ctx.Err())
		case <-time.After(lookAgain):
		}
	}
}

// reap takes away what is left of commands that Run gave up: they end on the machine, and their parent, which was on this side,
// is gone. Where nobody but this process would do it, PID 1 of the machine waits for them for ever (pid_namespaces(7)).
func reap() {
	children, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return
	}
	for _, path := range children {
		status, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		_, pids, _ := strings.Cut(string(status), "\nNSpid:")
		pids, _, _ = strings.Cut(pids, "\n")
		if len(strings.Fields(pids)) < 2 {
			continue // of this namespace
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // not ours, or it runs
		}
	}
}

// Close takes the power away and unmounts the disk, whose upper layer stays.
func (m *Machine) Close() error {
	err := m.Kill(context.Background())
	if unmount := unix.Unmount(m.Root, 0); unmount != nil {
		err = errors.Join(err, fmt.Errorf("machine %s: unmount: %w", m.Name, unmount))
	}
	return err
}
