package apply_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
)

const (
	kubeletUnit = "/etc/systemd/system/kubelet.service"
	kubeletConf = "/var/lib/kubelet/config.yaml"
	kubeletBin  = "/usr/bin/kubelet"
)

// master is a plan with one of everything.
func master(t *testing.T, n *node) *plan.Plan {
	return &plan.Plan{
		Dirs: []plan.Dir{{Path: "/var/lib/kubelet", Mode: 0o750}, {Path: "/var/lib/etcd", Mode: 0o700}},
		Assets: []plan.Asset{
			{Object: "kubelet", SHA256: n.store.put(t, "kubelet", "#!kubelet"), Path: kubeletBin, Mode: 0o755},
			{Object: "cni.tar", SHA256: n.store.put(t, "cni.tar", tarball(t, "bridge", "sub/", "sub/deep", "link -> bridge")), Path: "/opt/cni/bin", Unpack: true},
		},
		Etcd: []plan.Etcd{{Name: "main", Member: "m1", DataDir: "/var/lib/etcd", ConfigPath: "/etc/etcd/main.yaml"}},
		Files: []plan.File{
			{Path: kubeletUnit, Mode: 0o644, Content: "[Service]\n"},
			{Path: "/etc/systemd/system/kubelet.service.d/10-args.conf", Mode: 0o644, Content: "[Service]\n"},
			{Path: "/etc/systemd/system/import.service", Mode: 0o644, Content: "[Service]\n"},
			{Path: kubeletConf, Mode: 0o600, Content: "kind: KubeletConfiguration\n"},
			{Path: "/etc/kubernetes/manifests/etcd.yaml", Mode: 0o600, Content: "kind: Pod\n"},
			{Path: "/etc/kubernetes/pki/key", Mode: 0o600, From: "ssm:/key"},
		},
		Units: []plan.Unit{
			{Name: "containerd.service", State: plan.Started, Enable: true},
			{Name: "import.service", State: plan.Started},
			{Name: "kubelet.service", State: plan.Started, Inputs: []string{kubeletConf, kubeletBin}},
		},
	}
}

func first(t *testing.T) (*node, *plan.Plan) {
	t.Helper()
	n := newNode(t)
	n.units.kinds["import.service"] = "oneshot"
	p := master(t, n)
	n.apply(p)
	n.units.did()
	n.store.fetched = nil
	return n, p
}

func TestApply(t *testing.T) {
	n := newNode(t)
	n.units.kinds["import.service"] = "oneshot"
	p := master(t, n)
	n.want("first", n.apply(p),
		"create dir /var", "create dir /var/lib", "create dir /var/lib/kubelet", "create dir /var/lib/etcd",
		"create dir /usr", "create dir /usr/bin", "create dir /opt", "create dir /opt/cni", "create dir /opt/cni/bin",
		"create dir /etc", "create dir /etc/etcd", "create dir /etc/systemd", "create dir /etc/systemd/system",
		"create dir /etc/systemd/system/kubelet.service.d", "create dir /etc/kubernetes",
		"create dir /etc/kubernetes/manifests", "create dir /etc/kubernetes/pki",
		"create file /etc/etcd/main.yaml", "create file /etc/kubernetes/manifests/etcd.yaml",
		"create file /etc/kubernetes/pki/key", "create file /etc/systemd/system/import.service",
		"create file "+kubeletUnit, "create file /etc/systemd/system/kubelet.service.d/10-args.conf",
		"create asset "+kubeletBin, "create file "+kubeletConf, "unpack asset /opt/cni/bin",
		"enable unit containerd.service", "start unit containerd.service", "start unit import.service", "start unit kubelet.service")
	for p, want := range map[string]string{
		kubeletBin: "#!kubelet", "/etc/kubernetes/pki/key": "hush", "/opt/cni/bin/link": "bridge", "/opt/cni/bin/sub/deep": "sub/deep",
		"/etc/etcd/main.yaml": "name: m1\n",
	} {
		if got, err := n.host.Read(p); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", p, got, err)
		}
	}
	n.units.did()
	n.store.fetched = nil
	before, err := os.Stat(n.path(apply.RecordPath))
	must(t, err)
	n.settled(p)
	if jobs := n.units.did(); len(jobs) > 0 || len(n.store.fetched) > 0 {
		t.Errorf("the second apply ran %q and fetched %q", jobs, n.store.fetched)
	}
	if after, err := os.Stat(n.path(apply.RecordPath)); err != nil || !os.SameFile(before, after) {
		t.Errorf("the second apply wrote its record again (%v)", err)
	}
	for _, left := range []string{"/opt/cni/bin/.rekindle-unpack", "/etc/kubernetes/.etcd.yaml.rekindle"} {
		if _, err := os.Lstat(n.path(left)); err == nil {
			t.Errorf("%s was left", left)
		}
	}
}

func TestPreviewTouchesNothing(t *testing.T) {
	n := newNode(t)
	p := master(t, n)
	before := tree(t, n.host.Root())
	report, err := n.Preview(t.Context(), p)
	must(t, err)
	if report.Empty() || tree(t, n.host.Root()) != before || len(n.units.did()) > 0 || len(n.store.fetched) > 0 {
		t.Errorf("report %v, jobs %v, fetched %v", lines(report), n.units.jobs, n.store.fetched)
	}
	applied := n.apply(p)
	for _, line := range lines(report) {
		if !slices.Contains(applied, line) && !strings.Contains(line, "etcd") {
			t.Errorf("previewed and not done: %s", line)
		}
	}
}

func TestDropped(t *testing.T) {
	n, p := first(t)
	must(t, os.WriteFile(n.path("/etc/kubernetes/pki/theirs"), nil, 0o644))
	must(t, os.WriteFile(n.path("/etc/systemd/system/import.service"), []byte("[Service]\nX=1\n"), 0o644))
	p.Dirs = p.Dirs[:1]
	p.Etcd = nil
	p.Assets[1].SHA256 = n.store.put(t, "cni.tar", tarball(t, "bridge"))
	p.Files = slices.DeleteFunc(p.Files, func(f plan.File) bool {
		return f.Path != kubeletUnit && f.Path != kubeletConf
	})
	p.Units = p.Units[2:]
	n.units.active["import.service"] = "active"
	n.want("dropped", n.apply(p),
		"unpack asset /opt/cni/bin",
		"stop unit import.service",
		"remove dir /var/lib/etcd",
		"remove file /opt/cni/bin/sub/deep", "remove dir /opt/cni/bin/sub", "remove file /opt/cni/bin/link",
		"remove file /etc/systemd/system/kubelet.service.d/10-args.conf", "remove dir /etc/systemd/system/kubelet.service.d",
		"remove file /etc/systemd/system/import.service",
		"remove file /etc/kubernetes/pki/key",
		"remove file /etc/kubernetes/manifests/etcd.yaml", "remove dir /etc/kubernetes/manifests",
		"remove file /etc/etcd/main.yaml", "remove dir /etc/etcd",
		"restart unit kubelet.service")
	if n.units.active["containerd.service"] != "active" {
		t.Error("a unit of the image was stopped")
	}
	if _, err := n.host.Read("/etc/kubernetes/pki/theirs"); err != nil {
		t.Error(err)
	}
	n.settled(p)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestUnverifiedAsset(t *testing.T) {
	n := newNode(t)
	p := &plan.Plan{Assets: []plan.Asset{{Object: "tool", Path: "/usr/bin/tool", Mode: 0o755}}}
	n.store.put(t, "tool", "one")
	n.want("first", n.apply(p), "create dir /usr", "create dir /usr/bin", "create asset /usr/bin/tool")
	n.settled(p)
	n.store.put(t, "tool", "two")
	n.want("changed", n.apply(p), "update asset /usr/bin/tool")
	n.settled(p)
}

func TestReportIsJSON(t *testing.T) {
	data, err := json.Marshal(apply.Report{Changes: []apply.Change{{Kind: "file", Name: "/x", Action: "update", Drift: true}}})
	must(t, err)
	if got := string(data); got != `{"changes":[{"kind":"file","name":"/x","action":"update","drift":true}]}` {
		t.Error(got)
	}
}

func (stubborn) Remove(string) error { return errors.New("immutable") }
