//go:build machine

package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rekindle/test/machine/nspawn"
)

// TestLintian has Debian's own checker read both packages.
func TestLintian(t *testing.T) {
	for _, path := range []string{packages.old, packages.new} {
		out, err := exec.CommandContext(t.Context(), "lintian", "--allow-root", "--fail-on", "error,warning", path).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", filepath.Base(path), err, out)
		}
	}
}

// TestPackageInImage: in an image that is not running the units are enabled, and come up at the first boot.
func TestPackageInImage(t *testing.T) {
	m := newMachine(t, nspawn.Options{PrivateNetwork: true})
	for _, unit := range []string{"rekindle.service", "rekindle-api.socket"} {
		if state := m.chroot("systemctl", "is-enabled", unit); state != "enabled" {
			t.Errorf("%s is %s", unit, state)
		}
	}
	if said := m.chroot("sh", "-c", "dpkg --verify rekindle; rekindle version; bash -n /usr/share/bash-completion/completions/rekindle"); strings.Contains(said, "missing") {
		t.Error(said)
	}
	m.instead("held hang")
	m.boot()
	m.until("rekindle.service", "ActiveState", "active")
	if mode := m.run("stat", "--format=%a %U", "/run/rekindle"); mode != "755 root" {
		t.Errorf("/run/rekindle is %s", mode)
	}
}

// TestPackageOnNode installs, upgrades, removes and purges on a running node: what the agent installed runs on, and
// etcd's data is never touched.
func TestPackageOnNode(t *testing.T) {
	m := blank(t, nspawn.Options{PrivateNetwork: true, Files: map[string]string{
		"/etc/systemd/system/kubelet.service": "[Service]\nExecStart=sleep infinity\n",
		"/var/lib/etcd/main/member/snap/db":   "the cluster",
		"/etc/rekindle/10-operator.yaml":      "{}\n",
		"/var/lib/rekindle/applied.json":      "{}\n",
	}})
	m.copy(packages.old, "/root/old.deb")
	m.copy(packages.new, "/root/new.deb")
	m.copy(held, "/usr/local/bin/held")
	m.instead("sh -c 'sleep infinity'") // a boot that does not end: never READY=1
	m.boot()
	m.run("systemctl", "start", "kubelet.service")
	kubelet := m.property("kubelet.service", "MainPID")

	m.run("dpkg", "--install", "/root/old.deb")
	if state := m.property("rekindle.service", "ActiveState"); state != "inactive" {
		t.Errorf("installed, and the agent is %s", state)
	}
	m.run("systemctl", "start", "--no-block", "rekindle.service")
	m.until("rekindle.service", "ActiveState", "activating")
	before := m.property("rekindle.service", "MainPID")

	m.run("dpkg", "--install", "/root/new.deb") // does not wait for the boot
	m.eventually("the agent was restarted", func() bool {
		now := m.property("rekindle.service", "MainPID")
		return now != before && now != "0"
	})
	m.run("systemctl", "disable", "rekindle.service")
	m.run("dpkg", "--install", "/root/old.deb")
	if state, _ := m.Run(t.Context(), "systemctl", "is-enabled", "rekindle.service"); state != "disabled" {
		t.Errorf("an upgrade made it %s again", state)
	}
	m.run("systemctl", "enable", "rekindle.service")

	m.run("dpkg", "--remove", "rekindle")
	for _, unit := range []string{"rekindle.service", "rekindle-api.socket"} {
		if state := m.property(unit, "ActiveState"); state != "inactive" && state != "failed" {
			t.Errorf("removed, and %s is %s", unit, state)
		}
	}
	m.there("/var/lib/rekindle/applied.json")
	m.run("dpkg", "--install", "/root/new.deb")
	if state := m.run("systemctl", "is-enabled", "rekindle.service"); state != "enabled" {
		t.Errorf("installed again: %s", state)
	}
	m.run("dpkg", "--purge", "rekindle")
	m.there("/var/lib/etcd/main/member/snap/db", "/etc/rekindle/10-operator.yaml")
	left := m.run("sh", "-c", "find / -xdev -name '*rekindle*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/run/systemd/*' -not -path '/root/*' -not -path '/tmp/*' -not -path '/var/tmp/*' | sort")
	if want := "/etc/rekindle\n/etc/systemd/system/rekindle.service.d"; left != want { // the operator's
		t.Errorf("left:\n%s\nwant:\n%s", left, want)
	}
	if again := m.property("kubelet.service", "MainPID"); again != kubelet {
		t.Errorf("kubelet's PID is %s, was %s", again, kubelet)
	}
}

// there fails unless the paths exist on the machine.
func (m *machine) there(paths ...string) {
	m.t.Helper()
	for _, path := range paths {
		if _, err := os.Stat(filepath.Join(m.Root, path)); err != nil {
			m.t.Error(err)
		}
	}
}

// TestRPM installs and removes the rpm with rpm itself, its scripts run on a disk whose systemd is not running.
func TestRPM(t *testing.T) {
	m := blank(t, nspawn.Options{PrivateNetwork: true, Files: map[string]string{"/var/lib/etcd/main/member/snap/db": "the cluster"}})
	rpm := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "rpm", append([]string{"--root", m.Root, "--nodeps", "--nosignature"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("rpm %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	rpm("--install", packages.rpm)
	if state := m.chroot("systemctl", "is-enabled", "rekindle.service"); state != "enabled" {
		t.Errorf("enabled: %s", state)
	}
	if out := rpm("--verify", "rekindle"); out != "" {
		t.Errorf("rpm --verify: %s", out)
	}
	rpm("--erase", "rekindle")
	m.there("/var/lib/etcd/main/member/snap/db")
	for _, path := range []string{"/usr/bin/rekindle", "/usr/lib/systemd/system/rekindle.service", "/etc/systemd/system/multi-user.target.wants/rekindle.service"} {
		if _, err := os.Lstat(filepath.Join(m.Root, path)); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}
