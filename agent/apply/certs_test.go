package apply_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/config"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

const (
	caCrt, caKey         = "/etc/kubernetes/pki/etcd/ca.crt", "/etc/kubernetes/pki/etcd/ca.key"
	serverCrt, serverKey = "/etc/kubernetes/pki/etcd/server.crt", "/etc/kubernetes/pki/etcd/server.key"
	adminConf            = "/etc/kubernetes/admin.conf"
)

// certified is a node with a unit that reads its authority only at its start.
func certified(t *testing.T) (*node, *plan.Plan) {
	t.Helper()
	n := newNode(t)
	n.units.known["image/etcd.service"] = ""
	p := authorized(&plan.Plan{Units: []plan.Unit{{Name: "etcd.service", State: plan.Started, Inputs: []string{caCrt}}}})
	n.apply(p)
	n.units.did()
	return n, p
}

func TestCerts(t *testing.T) {
	n, p := certified(t)
	n.settled(p)
	for _, f := range []struct {
		path, content string
		mode          os.FileMode
	}{
		{caCrt, "TRUST etcd #1\n", 0o644},
		{caKey, "SECRET etcd #1\n", 0o600},
		{serverCrt, "CERT m1 127.0.0.1 by etcd-1 #1\n", 0o644},
		{serverKey, "SECRET " + serverCrt + " #1\n", 0o600},
		{adminConf, "SECRET CERT admin  by etcd-1 #2\n", 0o600},
	} {
		data, err := n.host.Read(f.path)
		must(t, err)
		info, err := os.Stat(n.path(f.path))
		must(t, err)
		if string(data) != f.content || info.Mode() != f.mode {
			t.Errorf("%s: %s %q", f.path, info.Mode(), data)
		}
	}
}

func TestCertChanges(t *testing.T) {
	for name, c := range map[string]struct {
		change func(n *node, p *plan.Plan)
		want   []string
		detail string // of the first
	}{
		"renewal": { // what reloads by itself is not restarted
			func(n *node, _ *plan.Plan) { n.certs.age(serverCrt) },
			[]string{"renew cert " + serverCrt, "renew cert " + serverKey}, "10 of 30 days left",
		},
		"kubeconfig": {
			func(n *node, _ *plan.Plan) { n.certs.age(adminConf) },
			[]string{"renew cert " + adminConf}, "10 of 30 days left",
		},
		"names": {
			func(_ *node, p *plan.Plan) { p.Certs[0].Names = append(p.Certs[0].Names, "10.0.0.1") },
			[]string{"renew cert " + serverCrt, "renew cert " + serverKey}, "its names changed",
		},
		"rotation": {
			func(n *node, _ *plan.Plan) { n.certs.authorities["etcd"]++ },
			[]string{
				"renew cert " + adminConf, "update cert " + caCrt, "update cert " + caKey,
				"renew cert " + serverCrt, "renew cert " + serverKey, "restart unit etcd.service",
			}, "its names changed",
		},
		"edited": {
			func(n *node, _ *plan.Plan) { must(n.t, os.WriteFile(n.path(caCrt), []byte("theirs"), 0o644)) },
			[]string{"update cert " + caCrt + " (drift)", "restart unit etcd.service"}, "it changed in the store",
		},
		"removed": {
			func(n *node, _ *plan.Plan) { must(n.t, os.Remove(n.path(serverCrt))) },
			[]string{"create cert " + serverCrt + " (drift)", "renew cert " + serverKey}, "none yet",
		},
		"key removed": {
			func(n *node, _ *plan.Plan) { must(n.t, os.Remove(n.path(serverKey))) },
			[]string{"renew cert " + serverCrt, "create cert " + serverKey + " (drift)"}, "its key does not match",
		},
		"truncated": { // a zero-byte key
			func(n *node, _ *plan.Plan) { must(n.t, os.Truncate(n.path(serverKey), 0)) },
			[]string{"renew cert " + serverCrt, "renew cert " + serverKey + " (drift)"}, "its key does not match",
		},
		"readable by all": {
			func(n *node, _ *plan.Plan) { must(n.t, os.Chmod(n.path(caKey), 0o644)) },
			[]string{"chmod cert " + caKey + " (drift)"}, "0644 to 0600",
		},
		"link": {
			func(n *node, _ *plan.Plan) {
				must(n.t, os.Rename(n.path(caKey), n.path("/etc/stolen")))
				must(n.t, os.Symlink("/etc/stolen", n.path("/etc")+"/kubernetes/pki/etcd/ca.key"))
			},
			[]string{"update cert " + caKey + " (drift)"}, "replaces a link",
		},
		"dropped": {
			func(_ *node, p *plan.Plan) { p.Certs = p.Certs[1:] },
			[]string{"remove file " + serverKey, "remove file " + serverCrt}, "not in the plan any more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := certified(t)
			c.change(n, p)
			report, err := n.Apply(t.Context(), p)
			must(t, err)
			n.want("changes", lines(report), c.want...)
			if len(report.Changes) > 0 && report.Changes[0].Detail != c.detail {
				t.Errorf("detail %q, want %q", report.Changes[0].Detail, c.detail)
			}
			n.settled(p)
			if info, err := os.Lstat(n.path("/etc/kubernetes/pki/etcd") + "/ca.key"); err != nil || info.Mode() != 0o600 {
				t.Errorf("the authority's key: %v, %v", info.Mode(), err)
			}
		})
	}
}

// TestCertPreview issues nothing, and says what would be issued.
func TestCertPreview(t *testing.T) {
	n, p := certified(t)
	before := tree(t, n.host.Root())
	preview := func(want ...string) apply.Report {
		t.Helper()
		report, err := n.Preview(t.Context(), p)
		must(t, err)
		n.want("preview", lines(report), want...)
		return report
	}
	preview()
	n.certs.age(serverCrt)
	report := preview("renew cert "+serverCrt, "renew cert "+serverKey)
	if got := report.Changes[0].Detail; got != "would issue: 10 of 30 days left" {
		t.Errorf("detail %q", got)
	}
	n.certs.authorities["etcd"]++
	preview("renew cert "+adminConf, "update cert "+caCrt, "update cert "+caKey,
		"renew cert "+serverCrt, "renew cert "+serverKey, "restart unit etcd.service")
	if after := tree(t, n.host.Root()); after != before {
		t.Errorf("changed:\n%s", after)
	}
}

// renames notes the order in which files get their names.
type renames struct {
	apply.Host
	paths []string
}

func (r *renames) Write(ctx context.Context, files ...apply.File) ([]string, error) {
	written, err := r.Host.Write(ctx, files...)
	r.paths = append(r.paths, written...)
	return written, err
}

// TestCertOrder puts keys before their certificates, trust before what it signed, and both before what reads them.
func TestCertOrder(t *testing.T) {
	n := newNode(t)
	r := &renames{Host: n.host}
	p := authorized(&plan.Plan{Files: []plan.File{{Path: "/etc/a.yaml", Content: "a"}, {Path: "/etc/kubernetes/manifests/etcd.yaml", Content: "b"}}})
	p.Authorities[0].Signer = "/etc/kubernetes/pki/etcd/signer.crt"
	_, err := n.engine(r, n.units).Apply(t.Context(), p)
	must(t, err)
	r.paths = slices.DeleteFunc(r.paths, func(p string) bool { return p == apply.RecordPath })
	n.want("order", r.paths, caKey, "/etc/kubernetes/pki/etcd/signer.crt", caCrt, serverKey, serverCrt, adminConf,
		"/etc/a.yaml", "/etc/kubernetes/manifests/etcd.yaml")
}

// TestHoldFails leaves everything as it was.
func TestHoldFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(i *issuer)
		says   string
		reason status.Reason
	}{
		"blocked": {
			func(i *issuer) {
				i.err = status.Fail(status.ReasonPKIBlocked, "", errors.New("the store has another authority"))
			},
			"another authority", status.ReasonPKIBlocked,
		},
		"any": {func(i *issuer) { i.err = errors.New("403") }, "403", status.ReasonApplyFailed},
		"missing": {
			func(i *issuer) { i.spoil = func(held []apply.Held) []apply.Held { return held[1:] } },
			"authority etcd: nobody holds " + caCrt, status.ReasonPKIBlocked,
		},
		"empty": {
			func(i *issuer) {
				i.spoil = func(held []apply.Held) []apply.Held { held[3].Content = nil; return held }
			},
			serverKey + " would be empty", status.ReasonPKIBlocked,
		},
		"open": {
			func(i *issuer) {
				i.spoil = func(held []apply.Held) []apply.Held { held[4].Mode = 0o640; return held }
			},
			adminConf + " would be readable", status.ReasonPKIBlocked,
		},
		"foreign": {
			func(i *issuer) {
				i.spoil = func(held []apply.Held) []apply.Held {
					return append(held, apply.Held{File: apply.File{Path: "/etc/passwd", Content: []byte("x")}})
				}
			},
			"/etc/passwd: held, and not in the plan", status.ReasonPKIBlocked,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := certified(t)
			p.Files = append(p.Files, plan.File{Path: "/etc/new", Content: "x"})
			n.certs.age(serverCrt)
			before := tree(t, n.host.Root())
			c.spoil(n.certs)
			report, err := n.Apply(t.Context(), p)
			if reason, _ := status.ReasonOf(err); reason != c.reason || !strings.Contains(errText(err), c.says) || !strings.Contains(errText(err), "nothing was changed") {
				t.Errorf("reason %s: %v", reason, err)
			}
			if after := tree(t, n.host.Root()); !report.Empty() || after != before {
				t.Errorf("changed %v:\n%s", lines(report), after)
			}
			n.certs.spoil, n.certs.err = nil, nil
			if len(n.apply(p)) == 0 {
				t.Error("nothing was left to do")
			}
			n.settled(p)
		})
	}
	t.Run("nobody", func(t *testing.T) {
		n, p := certified(t)
		n.Certs = nil
		if _, err := n.Apply(t.Context(), p); !strings.Contains(errText(err), "nothing here holds certificates; nothing was changed") {
			t.Error(err)
		}
	})
}

// TestHoldBeforeEtcd decides nothing about etcd without authorities: a lineage in the store would say that the cluster
// has lived without them.
func TestHoldBeforeEtcd(t *testing.T) {
	n := newNode(t)
	p := authorized(master(t, n))
	n.certs.err = errors.New("403")
	report, err := n.Apply(t.Context(), p)
	if err == nil || n.etcd.asked.Load() != 0 {
		t.Errorf("%v; etcd was decided %d times", err, n.etcd.asked.Load())
	}
	if i := slices.IndexFunc(report.Changes, func(c apply.Change) bool { return c.Kind != "dir" }); i >= 0 {
		t.Errorf("changed all the same: %s", report.Changes[i])
	}
	n.certs.err = nil
	n.apply(p)
	n.settled(p)
}

// never is a store, or a master, that does not answer.
type never struct{}

func (never) Hold(ctx context.Context, _ *plan.Plan, _ bool) ([]apply.Held, []string, error) {
	<-ctx.Done()
	return nil, nil, context.Cause(ctx)
}

// TestHoldIsBounded ends a wait at its deadline, configured or not, and names it.
func TestHoldIsBounded(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{0: 15 * time.Minute, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t)
			n.Certs, n.Timeouts = never{}, config.Timeouts{Join: limit}
			began := time.Now()
			_, err := n.Apply(t.Context(), authorized(&plan.Plan{}))
			if took := time.Since(began); took != want || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(errText(err), "certs: hold") {
				t.Errorf("after %s: %v", took, err)
			}
		})
	}
}

// TestHoldWarns passes on that a renewal failed while the old certificate is good.
func TestHoldWarns(t *testing.T) {
	n, p := certified(t)
	n.certs.warnings = []string{serverCrt + ": not renewed: 503"}
	report, err := n.Apply(t.Context(), p)
	must(t, err)
	n.want("warnings", report.Warnings, n.certs.warnings...)
}

// TestKeysStayOnTheNode looks for a private key wherever an apply leaves words.
func TestKeysStayOnTheNode(t *testing.T) {
	n, p := certified(t)
	var logged bytes.Buffer
	n.Logger = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	timeline := status.NewTimeline("boot", time.Now())
	ctx := status.WithTimeline(t.Context(), timeline)
	var said []any
	try := func(report apply.Report, err error) {
		said = append(said, report, errText(err))
	}
	n.certs.authorities["etcd"]++
	try(n.Preview(ctx, p))
	try(n.Apply(ctx, p))
	must(t, os.WriteFile(n.path(serverKey), []byte("SECRET edited"), 0o600))
	try(n.Apply(ctx, p))
	n.certs.age(serverCrt)
	e := n.engine(&faulty{Host: n.host, Units: n.units, at: 3}, n.units)
	e.Logger = n.Logger
	try(e.Apply(ctx, p)) // fails between the key and its certificate
	p.Certs = p.Certs[:1]
	try(n.Apply(ctx, p))
	must(t, timeline.Save(n.path("/")+"/timeline"))
	for name, text := range map[string]func() ([]byte, error){
		"report":   func() ([]byte, error) { return json.Marshal(said) },
		"log":      func() ([]byte, error) { return logged.Bytes(), nil },
		"record":   func() ([]byte, error) { return n.host.Read(apply.RecordPath) },
		"timeline": func() ([]byte, error) { return n.host.Read("/timeline") },
	} {
		data, err := text()
		must(t, err)
		if !bytes.Contains(data, []byte(serverKey)) && name != "timeline" {
			t.Errorf("%s: does not speak of the key at all:\n%s", name, data)
		}
		if bytes.Contains(data, []byte("SECRET")) {
			t.Errorf("%s: holds a private key:\n%s", name, data)
		}
	}
}

func TestCertPathsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(n *node, p *plan.Plan)
		says   string
		reason status.Reason
	}{
		"twice": {func(_ *node, p *plan.Plan) { p.Certs[0].Key = caKey }, "already the path of authority etcd", status.ReasonPlanInvalid},
		"file":  {func(_ *node, p *plan.Plan) { p.Files = []plan.File{{Path: adminConf}} }, "already the path of file", status.ReasonPlanInvalid},
		"path":  {func(_ *node, p *plan.Plan) { p.Authorities[0].Signer = "ca.crt" }, `"ca.crt"`, status.ReasonPlanInvalid},
		"above": {func(_ *node, p *plan.Plan) { p.Certs[1].Path = serverKey + "/x" }, "to be a directory", status.ReasonPlanInvalid},
		"in the way": {
			func(n *node, _ *plan.Plan) { must(n.t, os.MkdirAll(n.host.Root()+caKey+"/x", 0o755)) },
			"mv " + caKey, status.ReasonApplyFailed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			p := authorized(&plan.Plan{})
			c.spoil(n, p)
			_, err := n.Apply(t.Context(), p)
			if reason, _ := status.ReasonOf(err); reason != c.reason || !strings.Contains(errText(err), c.says) || !strings.Contains(errText(err), "nothing was changed") {
				t.Errorf("reason %s: %v", reason, err)
			}
		})
	}
}
