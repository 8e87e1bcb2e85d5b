//go:build machine

package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"rekindle/test/machine/nspawn"
)

// TestExposure bounds what somebody could do who took the agent over, by systemd's own measure. Units without default
// dependencies are spared some of its questions, so they are asked with these dependencies as well.
func TestExposure(t *testing.T) {
	text, err := os.ReadFile(service)
	if err != nil {
		t.Fatal(err)
	}
	asked := strings.Replace(string(text), "DefaultDependencies=no\n", "", 1)
	if asked == string(text) {
		t.Error("the unit has default dependencies: ask once")
	}
	full := filepath.Join(t.TempDir(), "rekindle.service")
	if err := os.WriteFile(full, []byte(asked), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{service, full} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", unit).CombinedOutput()
		if err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		t.Log(regexp.MustCompile("Overall exposure.*").FindString(string(out)))
	}
}

// TestVerify has systemd read our units beside the real ones of cloud-init and containerd, in the order of a boot.
func TestVerify(t *testing.T) {
	m := newMachine(t, nspawn.Options{PrivateNetwork: true})
	m.instead("held hang")
	m.boot()
	out := m.run("sh", "-c", "cd /lib/systemd/system && systemd-analyze verify --man=no rekindle.service rekindle-api.socket "+
		"rekindle-ready.target cloud-init.target cloud-final.service containerd.service multi-user.target")
	if out != "" {
		t.Error(out)
	}
	m.until("multi-user.target", "ActiveState", "active")
	m.until("rekindle-ready.target", "ActiveState", "active")
	m.noCycle()
	if after := " " + m.property("multi-user.target", "After") + " "; strings.Contains(after, " rekindle") {
		t.Errorf("multi-user.target waits for the agent: After=%s", after)
	}
}

// TestRestartsBounded lets the agent die at once, for many times: it is started again each time, and never sooner than
// five seconds later, also when a client of the API's socket asks for it all the time.
func TestRestartsBounded(t *testing.T) {
	m := newMachine(t, nspawn.Options{PrivateNetwork: true, Files: map[string]string{"/etc/rekindle/api-proxy": ""}})
	m.instead("sh -c 'exit 1'")
	m.boot()
	m.until("rekindle-api.socket", "ActiveState", "active")
	ask := exec.CommandContext(t.Context(), "nsenter", "--target", strconv.Itoa(m.Leader()), "--net", held, "ask", "127.0.0.1:6443", "1")
	if err := ask.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = ask.Process.Kill()
		_ = ask.Wait()
	}()
	m.eventually("seven restarts", func() bool {
		n, _ := strconv.Atoi(m.property("rekindle.service", "NRestarts"))
		return n >= 7
	})
	starts := regexp.MustCompile(`(?m)^\[ *([0-9.]+)\].* Starting rekindle.service`).FindAllStringSubmatch(m.journal("-b", "_PID=1"), -1)
	if len(starts) < 7 {
		t.Fatalf("%d starts in the journal", len(starts))
	}
	last := -time.Hour.Seconds()
	for _, start := range starts {
		at, err := strconv.ParseFloat(start[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if at-last < 5 {
			t.Errorf("started %.3f s after the last start", at-last)
		}
		last = at
	}
	if state := m.property("rekindle-api.socket", "ActiveState"); state != "active" {
		t.Errorf("the socket is %s", state)
	}
	t.Logf("%d starts, none within five seconds of another", len(starts))
}

// TestWatchdog has an agent that hangs: systemd ends it, with what it was doing in the journal, and starts it again.
func TestWatchdog(t *testing.T) {
	m := newMachine(t, nspawn.Options{PrivateNetwork: true})
	m.instead("held hang", "WatchdogSec=3")
	m.boot()
	m.eventually("a restart", func() bool { return m.property("rekindle.service", "NRestarts") != "0" })
	said := m.journal("-u", "rekindle.service")
	for _, want := range []string{"Watchdog timeout", "SIGABRT: abort", "goroutine "} {
		if !strings.Contains(said, want) {
			t.Errorf("the journal has no %q", want)
		}
	}
	m.until("rekindle.service", "ActiveState", "active")
}

// TestSocketQueues restarts what has the API proxy's socket under clients that connect all the time: none is refused, or
// cut off, and they are answered by one process after the other.
func TestSocketQueues(t *testing.T) {
	m := newMachine(t, nspawn.Options{PrivateNetwork: true, Files: map[string]string{"/etc/rekindle/api-proxy": ""}})
	m.instead("held serve")
	m.boot()
	m.until("rekindle.service", "ActiveState", "active")
	type result struct {
		out string
		err error
	}
	asked := make(chan result, 1)
	go func() {
		out, err := m.Run(t.Context(), "held", "ask", "127.0.0.1:6443", "3000")
		asked <- result{out, err}
	}()
	for range 3 {
		m.run("systemctl", "restart", "rekindle.service")
	}
	m.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "rekindle.service") // back after RestartSec
	got := <-asked
	if got.err != nil {
		t.Fatal(got.err)
	}
	if n := len(strings.Fields(got.out)); n < 4 {
		t.Errorf("only %d processes answered", n)
	} else {
		t.Logf("3000 connections, none lost, answered by %d processes in turn", n)
	}
}

// TestNoSocketOnMasters: without the file that a role with the proxy brings, the port is left to the API server.
func TestNoSocketOnMasters(t *testing.T) {
	m := newMachine(t, nspawn.Options{PrivateNetwork: true})
	m.instead("held hang")
	m.boot()
	m.until("rekindle.service", "ActiveState", "active")
	if out := m.run("ss", "--listening", "--tcp", "--numeric", "--no-header", "sport", "=", "6443"); out != "" {
		t.Errorf("somebody listens: %s", out)
	}
	if state := m.property("rekindle-api.socket", "ConditionResult"); state != "no" {
		t.Errorf("ConditionResult=%s", state)
	}
	// Once the role is known the file is there: the next start of the agent brings the socket up.
	if err := m.Write("/etc/rekindle/api-proxy", ""); err != nil {
		t.Fatal(err)
	}
	m.run("systemctl", "restart", "rekindle.service")
	if state := m.property("rekindle-api.socket", "ActiveState"); state != "active" {
		t.Errorf("after a restart the socket is %s", state)
	}
}

// TestMountsReachTheSandbox mounts a disk while the agent runs: the agent writes to the disk, not below it.
func TestMountsReachTheSandbox(t *testing.T) {
	m := newMachine(t, nspawn.Options{PrivateNetwork: true, Files: map[string]string{
		"/etc/systemd/system/var-lib-etcd.mount": "[Mount]\nWhat=tmpfs\nType=tmpfs\nWhere=/var/lib/etcd\n",
	}})
	m.instead("held hang")
	m.boot()
	m.until("rekindle.service", "ActiveState", "active")
	m.run("systemctl", "start", "var-lib-etcd.mount")
	pid := m.property("rekindle.service", "MainPID")
	m.run("nsenter", "--target", pid, "--mount", "touch", "/var/lib/etcd/written", "/etc/kubernetes.conf", "/usr/local/bin/kubelet")
	m.run("mountpoint", "/var/lib/etcd")
	m.run("test", "-e", "/var/lib/etcd/written")
	if out, err := m.Run(t.Context(), "nsenter", "--target", pid, "--mount", "touch", "/usr/bin/written"); err == nil {
		t.Errorf("the agent may write to /usr/bin: %s", out)
	}
}
