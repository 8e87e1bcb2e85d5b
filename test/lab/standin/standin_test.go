package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("REKINDLE_ROOT", dir)
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestContainerdConfigIsStrict(t *testing.T) {
	sound := `version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = "runc"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    BinaryName = "/usr/local/sbin/runc"
    SystemdCgroup = true
`
	for _, c := range []struct{ name, text, want string }{
		{"sound", sound, ""},
		{"misspelt key", sound + "SystemdCgroups = true\n", "SystemdCgroups"},
		{"unknown plugin", sound + "[plugins.'io.containerd.grpc.v2.cri']\nx = 1\n", "io.containerd.grpc.v2.cri"},
		{"old version", strings.Replace(sound, "= 3", "= 2", 1), "containerd 2 reads 3"},
		{"no such runtime", strings.Replace(sound, `name = "runc"`, `name = "kata"`, 1), "no such runtime"},
		{"runc is missing", strings.Replace(sound, "sbin/runc", "sbin/crun", 1), "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, map[string]string{"/c.toml": c.text, "/usr/local/sbin/runc": ""})
			_, err := readConfig(filepath.Join(dir, "c.toml"))
			expect(t, err, c.want)
		})
	}
}

func TestRegistries(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"sound", "server = \"https://registry.k8s.io\"\n[host.\"https://mirror:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n", ""},
		{"capability", "[host.\"https://mirror\"]\ncapabilities = [\"fetch\"]\n", `capability "fetch"`},
		{"unknown key", "[host.\"https://mirror\"]\nskipverify = true\n", "skipverify"},
		{"scheme", "[host.\"s3://mirror\"]\n", "is no registry"},
		{"missing CA", "[host.\"https://mirror\"]\nca = \"/etc/ca.crt\"\n", "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, map[string]string{"/hosts.toml": c.text})
			expect(t, checkHosts(filepath.Join(dir, "hosts.toml")), c.want)
		})
	}
}

func TestSysctl(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"sound", "# comment\nnet.ipv4.ip_forward = 1\n-kernel.x=1\n-net.ipv4.conf.*.foo\n", ""},
		{"no assignment", "net.ipv4.ip_forward 1\n", "a.conf:1:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree(t, map[string]string{"/etc/sysctl.d/a.conf": c.text})
			expect(t, sysctl(nil), c.want)
		})
	}
}

func TestFilesOfEtcHideThoseOfUsr(t *testing.T) {
	tree(t, map[string]string{"/etc/modules-load.d/a.conf": "br_netfilter\n", "/usr/lib/modules-load.d/a.conf": "not a module\n"})
	expect(t, modulesLoad(nil), "")
}

func TestArchive(t *testing.T) {
	dir := tree(t, map[string]string{"/a.tar": "hello, I am no archive, and long enough to be none\n"})
	_, err := checkArchive(filepath.Join(dir, "a.tar"))
	expect(t, err, "not a tar archive")
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":          "net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.1/rp":      "net/ipv4/conf/eth0.1/rp",
		"net.ipv4.conf.eth0/1.rp_filt": "net/ipv4/conf/eth0.1/rp_filt",
	} {
		if got := sysctlPath(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
