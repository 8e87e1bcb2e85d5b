package apply_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rekindle/agent/apply"
	"rekindle/agent/host"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

func TestUnitFails(t *testing.T) {
	n := newNode(t)
	n.units.kinds["import.service"] = "oneshot"
	p := master(t, n)
	n.units.broken["containerd.service"] = errors.New("failed: exit status 1: no such device")
	_, err := n.Apply(t.Context(), p)
	reason, hint := status.ReasonOf(err)
	if reason != status.ReasonUnitFailed || !strings.Contains(hint, "journalctl -u containerd.service") || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("reason %s, hint %q: %v", reason, hint, err)
	}
	partial, ok := errors.AsType[*apply.Error](err)
	if !ok || !slices.Contains(lines(partial.Report), "start unit kubelet.service") {
		t.Errorf("the units after it were not tried: %v", err)
	}
	n.units.did()
	delete(n.units.broken, "containerd.service")
	n.want("healed", n.apply(p), "start unit containerd.service")
	n.settled(p)
}

func TestRestartFails(t *testing.T) {
	n, p := first(t)
	p.Files[3].Content += "maxPods: 1\n"
	n.units.broken["kubelet.service"] = errors.New("failed")
	if _, err := n.Apply(t.Context(), p); err == nil {
		t.Fatal("no error")
	}
	n.want("jobs", n.units.did(), "restart kubelet.service")
	delete(n.units.broken, "kubelet.service")
	n.want("healed", n.apply(p), "start unit kubelet.service")
	n.settled(p)
}

func TestRestartsOnce(t *testing.T) {
	n, p := first(t)
	for _, content := range []string{"a", "b"} {
		p.Files[3].Content = content
		n.want("changed", n.apply(p), "update file "+kubeletConf, "restart unit kubelet.service")
		n.settled(p)
	}
	p.Files[2].Content += "X=1\n"
	n.want("oneshot", n.apply(p), "update file /etc/systemd/system/import.service", "start unit import.service")
	n.settled(p)
	p.Assets[0].SHA256 = n.store.put(t, "kubelet", "#!kubelet 2")
	n.want("asset", n.apply(p), "update asset "+kubeletBin, "restart unit kubelet.service")
	n.settled(p)
}

func TestReload(t *testing.T) {
	n, p := first(t)
	p.Units[2].Reload = true
	p.Files[3].Content = "a"
	n.want("input", n.apply(p), "update file "+kubeletConf, "reload unit kubelet.service")
	p.Files[0].Content = "[Service]\nX=2\n"
	n.want("definition", n.apply(p), "update file "+kubeletUnit, "restart unit kubelet.service")
	n.settled(p)
}

func TestStates(t *testing.T) {
	n, p := first(t)
	p.Units[2].State = plan.Enabled
	n.units.active["kubelet.service"] = "inactive"
	n.want("enabled", n.apply(p), "enable unit kubelet.service")
	n.settled(p)
	n.units.active["kubelet.service"] = "active"
	p.Units[2].State = plan.Stopped
	n.want("stopped", n.apply(p), "disable unit kubelet.service", "stop unit kubelet.service")
	n.settled(p)
	p.Units[2].State = plan.Started
	n.want("started", n.apply(p), "start unit kubelet.service")
	n.settled(p)
	p.Units = append(p.Units, plan.Unit{Name: "ghost.service", State: plan.Stopped})
	n.settled(p)
	p.Units[3].State = plan.Started
	if _, err := n.Apply(t.Context(), p); !strings.Contains(errText(err), "ghost.service: not found") {
		t.Errorf("%v", err)
	}
}

// TestWithProcesses has the process runner under the engine, over an agent that is restarted.
func TestWithProcesses(t *testing.T) {
	n := newNode(t)
	open := func() *host.Processes {
		r, err := host.NewProcesses(n.host, nil, nil)
		must(t, err)
		n.Engine = n.engine(n.host, r)
		return r
	}
	p := &plan.Plan{
		Assets: []plan.Asset{{Object: "cat", SHA256: n.store.put(t, "cat", program(t, "cat")), Path: "/usr/bin/cat"}},
		Dirs:   []plan.Dir{{Path: "/run/pipe", Mode: 0o755}},
		Files:  []plan.File{{Path: "/etc/systemd/system/a.service", Content: "[Service]\nExecStart=/usr/bin/cat /run/pipe/p\n[Install]\nWantedBy=multi-user.target\n"}},
		Units:  []plan.Unit{{Name: "a.service", State: plan.Started, Enable: true, Inputs: []string{"/usr/bin/cat"}}},
	}
	must(t, n.host.MkdirAll("/run/pipe"))
	must(t, syscall.Mkfifo(n.path("/run/pipe/p"), 0o600)) // which cat waits for
	r := open()
	first := n.apply(p)
	if !slices.Contains(first, "start unit a.service") || !slices.Contains(first, "enable unit a.service") {
		t.Errorf("%q", first)
	}
	r.Close()
	r = open()
	n.settled(p)
	must(t, r.Do(t.Context(), "stop", "a.service"))
	n.want("drift", n.apply(p), "start unit a.service (drift)")
	p.Files[0].Content = "[Unit]\nDescription=x\n" + p.Files[0].Content
	n.want("changed", n.apply(p), "update file /etc/systemd/system/a.service", "restart unit a.service")
	p.Files, p.Units = nil, nil
	dropped := n.apply(p)
	if !slices.Contains(dropped, "stop unit a.service") || !slices.Contains(dropped, "disable unit a.service") {
		t.Errorf("%q", dropped)
	}
	n.settled(p)
	must(t, r.StopAll(t.Context()))
	r.Close()
}

// TestCondition has a unit that systemd passes over while its condition does not hold.
func TestCondition(t *testing.T) {
	n := newNode(t)
	r, err := host.NewProcesses(n.host, nil, nil)
	must(t, err)
	defer r.Close()
	n.Engine = n.engine(n.host, r)
	p := &plan.Plan{
		Assets: []plan.Asset{{Object: "true", SHA256: n.store.put(t, "true", program(t, "true")), Path: "/usr/bin/true"}},
		Files:  []plan.File{{Path: "/etc/systemd/system/a.service", Content: "[Unit]\nConditionPathExists=/etc/go\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/true\n"}},
		Units:  []plan.Unit{{Name: "a.service", State: plan.Started}},
	}
	report, err := n.Apply(t.Context(), p)
	must(t, err)
	if last := report.Changes[len(report.Changes)-1]; last.Name != "a.service" || last.Detail != "its condition does not hold" {
		t.Errorf("%+v", last)
	}
	n.settled(p)
	must(t, os.WriteFile(n.path("/etc/go"), nil, 0o644))
	n.want("holds", n.apply(p), "start unit a.service")
	n.settled(p)
}

// program is a program of this machine.
func program(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	must(t, err)
	data, err := os.ReadFile(p)
	must(t, err)
	return string(data)
}
