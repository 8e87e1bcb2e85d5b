package apply_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

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

func TestCanceled(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if report, err := n.Apply(ctx, master(t, n)); !errors.Is(err, context.Canceled) || !report.Empty() {
		t.Errorf("%v, %v", lines(report), err)
	}
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
