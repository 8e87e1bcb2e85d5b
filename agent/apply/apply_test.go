package apply_test

import (
	"context"
	"encoding/json"
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

func TestDrift(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(n *node)
		want   []string
	}{
		"edited": {
			func(n *node) {
				must(n.t, os.WriteFile(n.path(kubeletConf), []byte("kind: KubeletConfigurati0n\n"), 0o600))
			},
			[]string{"update file " + kubeletConf + " (drift)", "restart unit kubelet.service"},
		},
		"deleted": {
			func(n *node) { must(n.t, os.Remove(n.path(kubeletConf))) },
			[]string{"create file " + kubeletConf + " (drift)", "restart unit kubelet.service"},
		},
		"chmodded": {
			func(n *node) { must(n.t, os.Chmod(n.path(kubeletConf), 0o666)) },
			[]string{"chmod file " + kubeletConf + " (drift)"},
		},
		"replaced by a link": {
			func(n *node) {
				must(n.t, os.Remove(n.path(kubeletConf)))
				must(n.t, os.Symlink("/etc/hosts", n.path(kubeletConf)))
			},
			[]string{"update file " + kubeletConf + " (drift)", "restart unit kubelet.service"},
		},
		"replaced by an empty directory": {
			func(n *node) {
				real := n.path(kubeletConf)
				must(n.t, os.Remove(real))
				must(n.t, os.Mkdir(real, 0o755))
			},
			[]string{"update file " + kubeletConf + " (drift)", "restart unit kubelet.service"},
		},
		"directory chmodded": {
			func(n *node) { must(n.t, os.Chmod(n.path("/var/lib/etcd"), 0o777)) },
			[]string{"chmod dir /var/lib/etcd (drift)"},
		},
		"directory deleted": {
			func(n *node) { must(n.t, os.Remove(n.path("/var/lib/etcd"))) },
			[]string{"create dir /var/lib/etcd (drift)"},
		},
		"asset replaced": {
			func(n *node) { must(n.t, os.WriteFile(n.path(kubeletBin), []byte("#!kubele7"), 0o755)) },
			[]string{"update asset " + kubeletBin + " (drift)", "restart unit kubelet.service"},
		},
		"asset chmodded": {
			func(n *node) { must(n.t, os.Chmod(n.path(kubeletBin), 0o644)) },
			[]string{"chmod asset " + kubeletBin + " (drift)"},
		},
		"asset touched": {
			func(n *node) { must(n.t, os.WriteFile(n.path(kubeletBin), []byte("#!kubelet"), 0o755)) },
			nil,
		},
		"unpacked file deleted": {
			func(n *node) { must(n.t, os.Remove(n.path("/opt/cni/bin/sub/deep"))) },
			[]string{"unpack asset /opt/cni/bin (drift)"},
		},
		"unpacked link turned": {
			func(n *node) {
				real := n.host.Root() + "/opt/cni/bin/link"
				must(n.t, os.Remove(real))
				must(n.t, os.Symlink("sub", real))
			},
			[]string{"unpack asset /opt/cni/bin (drift)"},
		},
		"unit stopped":  {func(n *node) { n.units.active["kubelet.service"] = "inactive" }, []string{"start unit kubelet.service (drift)"}},
		"unit failed":   {func(n *node) { n.units.active["kubelet.service"] = "failed" }, []string{"start unit kubelet.service (drift)"}},
		"unit disabled": {func(n *node) { n.units.enabled["containerd.service"] = false }, []string{"enable unit containerd.service"}},
		"unit file edited": {
			func(n *node) { must(n.t, os.WriteFile(n.path(kubeletUnit), []byte("[Service]\nX=1\n"), 0o644)) },
			[]string{"update file " + kubeletUnit + " (drift)", "restart unit kubelet.service"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := first(t)
			n.t = t
			clean := tree(t, n.host.Root())
			c.meddle(n)
			preview, err := n.Preview(t.Context(), p)
			must(t, err)
			n.want("preview", lines(preview), c.want...)
			n.want("repair", n.apply(p), c.want...)
			if now := tree(t, n.host.Root()); now != clean {
				t.Errorf("the tree differs:\n%s\nwant\n%s", now, clean)
			}
			n.settled(p)
		})
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

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestNothingChangesWhenItCannotSucceed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(n *node, p *plan.Plan)
		says   string
		reason status.Reason
	}{
		"secret":       {func(_ *node, p *plan.Plan) { p.Files[5].From = "ssm:/no" }, "ssm:/no: 403", status.ReasonApplyFailed},
		"in the way":   {func(n *node, p *plan.Plan) { must(n.t, os.MkdirAll(n.path(kubeletConf)+"/x", 0o755)) }, "mv " + kubeletConf, status.ReasonApplyFailed},
		"file for dir": {func(n *node, p *plan.Plan) { must(n.t, os.WriteFile(n.path("/opt"), nil, 0o644)) }, "mv /opt", status.ReasonApplyFailed},
		"path":         {func(_ *node, p *plan.Plan) { p.Files[0].Path = "/etc/../x" }, "/etc/../x", status.ReasonPlanInvalid},
		"root":         {func(_ *node, p *plan.Plan) { p.Assets[0].Path = "/" }, `"/"`, status.ReasonPlanInvalid},
		"twice":        {func(_ *node, p *plan.Plan) { p.Files[0].Path = kubeletBin }, "already the path", status.ReasonPlanInvalid},
		"below a file": {func(_ *node, p *plan.Plan) { p.Files[0].Path = kubeletConf + "/x" }, "to be a directory", status.ReasonPlanInvalid},
		"unit":         {func(_ *node, p *plan.Plan) { p.Units[0].Name = "../x.service" }, "../x.service", status.ReasonPlanInvalid},
		"state":        {func(_ *node, p *plan.Plan) { p.Units[0].State = "on" }, `"on"`, status.ReasonPlanInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			p := master(t, n)
			c.spoil(n, p)
			before := tree(t, n.host.Root())
			report, err := n.Apply(t.Context(), p)
			if reason, _ := status.ReasonOf(err); reason != c.reason || !strings.Contains(errText(err), c.says) || !strings.Contains(errText(err), "nothing was changed") {
				t.Errorf("reason %s: %v", reason, err)
			}
			if after := tree(t, n.host.Root()); !report.Empty() || after != before {
				t.Errorf("changed %v:\n%s", lines(report), after)
			}
		})
	}
}

func TestNoFileBeforeAssetsAndEtcd(t *testing.T) {
	for name, spoil := range map[string]func(n *node, p *plan.Plan){
		"fetch": func(n *node, _ *plan.Plan) {
			n.store.err = status.Fail(status.ReasonStoreDenied, "", errors.New("403"))
		},
		"corrupt": func(_ *node, p *plan.Plan) { p.Assets[0].SHA256 = strings.Repeat("0", 64) },
		"etcd": func(n *node, _ *plan.Plan) {
			n.etcd.err = status.Fail(status.ReasonEtcdBlocked, "", errors.New("wait"))
		},
		"unpack": func(n *node, p *plan.Plan) {
			p.Assets[1].SHA256 = n.store.put(n.t, "cni.tar", "no tar at all, and longer")
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			p := master(t, n)
			spoil(n, p)
			report, err := n.Apply(t.Context(), p)
			if err == nil {
				t.Fatal("no error")
			}
			for _, c := range report.Changes {
				if c.Kind != "dir" {
					t.Errorf("changed all the same: %s", c)
				}
			}
			if strings.Contains(tree(t, n.host.Root()), kubeletConf) {
				t.Error("a file was written")
			}
		})
	}
}

func TestCorruptRecord(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":9}`, `{"version":1,"files":{"/etc/../passwd":{}}}`} {
		n, p := first(t)
		must(t, os.WriteFile(n.path(apply.RecordPath), []byte(text), 0o600))
		p.Files = slices.Delete(p.Files, 4, 5)
		report, err := n.Apply(t.Context(), p)
		must(t, err)
		if len(report.Warnings) != 1 || slices.ContainsFunc(report.Changes, func(c apply.Change) bool { return c.Action == "remove" }) {
			t.Errorf("%q: %+v", text, report)
		}
		if !strings.Contains(tree(t, n.host.Root()), "applied.json.aside-") {
			t.Errorf("%q: not set aside", text)
		}
		n.settled(p)
	}
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

func TestCanceled(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if report, err := n.Apply(ctx, master(t, n)); !errors.Is(err, context.Canceled) || !report.Empty() {
		t.Errorf("%v, %v", lines(report), err)
	}
}

// TestHosts shares the hosts file with those who have lines in it too.
func TestHosts(t *testing.T) {
	n := newNode(t)
	must(t, n.host.MkdirAll("/etc"))
	must(t, os.WriteFile(n.path("/etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644))
	p := &plan.Plan{Files: []plan.File{{Path: "/etc/hosts", Content: "10.0.0.9 ldap\n"}}}
	n.want("first", n.apply(p), "update file /etc/hosts")
	n.settled(p)
	_, err := n.host.Block(t.Context(), "/etc/hosts", "discovery", []byte("10.0.0.1 api"))
	must(t, err)
	n.settled(p)
	p.Files = nil
	preview, err := n.Preview(t.Context(), p)
	must(t, err)
	n.want("preview", lines(preview), "update file /etc/hosts")
	n.want("dropped", n.apply(p), "update file /etc/hosts")
	n.settled(p)
	data, err := n.host.Read("/etc/hosts")
	if want := "127.0.0.1 localhost\n# BEGIN rekindle discovery\n10.0.0.1 api\n# END rekindle discovery\n"; err != nil || string(data) != want {
		t.Errorf("%q, %v", data, err)
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

// TestPruneFails starts the units although a dropped file cannot be removed.
func TestPruneFails(t *testing.T) {
	n, p := first(t)
	p.Files = slices.Delete(p.Files, 4, 5)
	p.Units = append(p.Units, plan.Unit{Name: "containerd2.service", State: plan.Started})
	n.units.known["image/containerd2.service"] = ""
	e := n.engine(stubborn{n.host}, n.units)
	if _, err := e.Apply(t.Context(), p); !strings.Contains(errText(err), "immutable") {
		t.Errorf("%v", err)
	}
	n.want("jobs", n.units.did(), "start containerd2.service")
	n.want("then", n.apply(p), "remove file /etc/kubernetes/manifests/etcd.yaml", "remove dir /etc/kubernetes/manifests")
}

type stubborn struct{ apply.Host }

func (stubborn) Remove(string) error { return errors.New("immutable") }

// program is a program of this machine.
func program(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	must(t, err)
	data, err := os.ReadFile(p)
	must(t, err)
	return string(data)
}
