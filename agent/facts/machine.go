package facts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// System is where the machine is read from. The zero value is the machine itself; the laboratory gives each instance
// a root of its own, while the kernel is the host's.
type System struct {
	Root string // of configuration and software; default "/"
	Proc string // default "/proc"
	Sys  string // default "/sys"
}

func (s System) root(path string) string { return filepath.Join("/", s.Root, path) }

func (s System) proc(path string) string {
	if s.Proc == "" {
		return filepath.Join("/proc", path)
	}
	return filepath.Join(s.Proc, path)
}

func (s System) sys(path string) string {
	if s.Sys == "" {
		return filepath.Join("/sys", path)
	}
	return filepath.Join(s.Sys, path)
}

// machine reads what takes no time: kernel, CPUs, memory, disks.
func (s System) machine() (Machine, error) {
	m := Machine{Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var err error
	if m.Hostname, err = os.Hostname(); err != nil {
		return m, fmt.Errorf("machine: %w", err)
	}
	kernel, err := os.ReadFile(s.proc("sys/kernel/osrelease"))
	if err != nil {
		return m, fmt.Errorf("machine: %w", err)
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	memory, err := os.ReadFile(s.proc("meminfo"))
	if err != nil {
		return m, fmt.Errorf("machine: %w", err)
	}
	if m.MemoryBytes, err = parseMeminfo(memory); err != nil {
		return m, fmt.Errorf("machine: %w", err)
	}
	if cpus, err := os.ReadFile(s.sys("devices/system/cpu/online")); err == nil {
		if n, err := parseCPUList(string(cpus)); err == nil {
			m.CPUs = n // NumCPU is the agent's affinity mask; the kubelet counts what is online
		}
	}
	_, err = os.Stat(s.sys("fs/cgroup/cgroup.controllers"))
	m.CgroupV2 = err == nil
	m.ResolvConf = s.resolvConf()
	m.StorageBytes = s.storage("var/lib/kubelet")
	if m.Disks, err = s.disks(); err != nil {
		return m, fmt.Errorf("machine: %w", err)
	}
	return m, nil
}

// parseMeminfo returns the bytes of the MemTotal line of /proc/meminfo.
func parseMeminfo(data []byte) (int64, error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:")
		if !ok {
			continue
		}
		kibi, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 53)
		if err != nil {
			return 0, fmt.Errorf("meminfo: MemTotal: %w", err)
		}
		return kibi << 10, nil
	}
	return 0, errors.New("meminfo: no MemTotal")
}

// parseCPUList counts the CPUs of a kernel list such as "0-3,8".
func parseCPUList(text string) (int, error) {
	total := 0
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("cpu list %q: %w", text, err)
		}
		last := first
		if isRange {
			if last, err = strconv.ParseUint(high, 10, 16); err != nil {
				return 0, fmt.Errorf("cpu list %q: %w", text, err)
			}
		}
		if last < first {
			return 0, fmt.Errorf("cpu list %q: a range that ends before it starts", text)
		}
		total += int(last-first) + 1
	}
	return total, nil
}

// storage is the size of the file system that holds path or the nearest of its parents that exists.
func (s System) storage(path string) int64 {
	for ; ; path = filepath.Dir(path) {
		var st unix.Statfs_t
		err := unix.Statfs(s.root(path), &st)
		if err == nil {
			return int64(st.Blocks) * int64(st.Bsize)
		}
		if !errors.Is(err, fs.ErrNotExist) || path == "." || path == "/" {
			return 0
		}
	}
}

const resolvedUpstreams = "/run/systemd/resolve/resolv.conf"

// resolvConf is the resolver file for pods, as a path on the node. A stub of systemd-resolved on 127.0.0.53 is of no
// use in a pod's network, and CoreDNS behind it would ask itself; resolved keeps the real servers in another file.
func (s System) resolvConf() string {
	const usual = "/etc/resolv.conf"
	data, err := os.ReadFile(s.root(usual))
	if err != nil {
		return ""
	}
	if !onlyLoopback(data) {
		return usual
	}
	if upstreams, err := os.ReadFile(s.root(resolvedUpstreams)); err == nil && !onlyLoopback(upstreams) {
		return resolvedUpstreams
	}
	return usual
}

// onlyLoopback tells whether every nameserver of a resolv.conf is on this machine's loopback.
func onlyLoopback(conf []byte) bool {
	lines := bufio.NewScanner(bytes.NewReader(conf))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "nameserver" && !strings.HasPrefix(fields[1], "127.") && fields[1] != "::1" {
			return false
		}
	}
	return true
}
