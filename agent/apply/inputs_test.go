package apply_test

import (
	"os"
	"strings"
	"testing"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

const manifest = "/etc/kubernetes/manifests/api.yaml"

// digested is a plan with a static pod that is to be started again with each kind of input.
func digested(t *testing.T, n *node) *plan.Plan {
	p := authorized(&plan.Plan{
		Assets: []plan.Asset{
			{Object: "tool", SHA256: n.store.put(t, "tool", "one"), Path: "/usr/bin/tool", Mode: 0o755},
			{Object: "free", Path: "/usr/bin/free", Mode: 0o755},
			{Object: "cni.tar", SHA256: n.store.put(t, "cni.tar", tarball(t, "bridge")), Path: "/opt/cni/bin", Unpack: true},
		},
		Etcd: []plan.Etcd{{Name: "main", Member: "m1", DataDir: "/var/lib/etcd", ConfigPath: "/etc/etcd/main.yaml"}},
		Files: []plan.File{
			{
				Path: manifest, Mode: 0o600, Content: "a: @inputs@\nb: @inputs@\n",
				Inputs: []string{"/etc/audit", "/usr/bin/tool", "/usr/bin/free", "/opt/cni/bin", caCrt, adminConf, "/etc/theirs", "/etc/etcd/main.yaml"},
			},
			{Path: "/etc/audit/policy.yaml", Content: "rules @inputs@", Inputs: []string{"/etc/deep"}},
			{Path: "/etc/deep", Content: "1"},
			{Path: "/etc/plain", Content: "@inputs@"},
		},
	})
	n.store.put(t, "free", "one")
	return p
}

// digestOf is the digest in the manifest.
func digestOf(n *node) string {
	n.t.Helper()
	data, err := n.host.Read(manifest)
	must(n.t, err)
	digest, rest, _ := strings.Cut(strings.TrimPrefix(string(data), "a: "), "\n")
	if len(digest) != 16 || strings.Trim(digest, "0123456789abcdef") != "" || rest != "b: "+digest+"\n" {
		n.t.Fatalf("%q", data)
	}
	return digest
}

// TestInputs changes each input in turn.
func TestInputs(t *testing.T) {
	n := newNode(t)
	p := digested(t, n)
	n.apply(p)
	n.settled(p)
	if data, err := n.host.Read("/etc/plain"); err != nil || string(data) != plan.InputsMark {
		t.Errorf("a file without inputs: %q, %v", data, err)
	}
	last := digestOf(n)
	for _, c := range []struct {
		name   string
		change func()
		same   bool
	}{
		{"nothing", func() {}, true},
		{"asset", func() { p.Assets[0].SHA256 = n.store.put(t, "tool", "two") }, false},
		{"asset without a digest", func() { n.store.put(t, "free", "two") }, false},
		{"archive", func() { p.Assets[2].SHA256 = n.store.put(t, "cni.tar", tarball(t, "bridge", "ptp")) }, false},
		{"authority", func() { n.certs.authorities["etcd"]++ }, false},
		{"certificate", func() { n.certs.age(adminConf) }, false},
		{"another certificate", func() { n.certs.age(serverCrt) }, true},
		{"mode", func() { p.Files[1].Mode = 0o600 }, false},
		{"input of an input", func() { p.Files[2].Content = "2" }, false},
		{"another file", func() { p.Files[3].Content = "2" }, true},
		{"member", func() { p.Etcd[0].Member = "m2" }, false},
		{"member, but not for a running one", func() { n.etcd.state = "existing" }, true},
		{"somebody else's file", func() { must(t, os.WriteFile(n.path("/etc/theirs"), []byte("x"), 0o644)) }, false},
		{"its content", func() { must(t, os.WriteFile(n.path("/etc/theirs"), []byte("y"), 0o644)) }, false},
		{"a path", func() { p.Files[0].Inputs = p.Files[0].Inputs[1:] }, false},
		{"their order", func() { in := p.Files[0].Inputs; in[0], in[1] = in[1], in[0] }, true},
	} {
		c.change()
		preview, err := n.Preview(t.Context(), p)
		must(t, err)
		n.apply(p)
		now := digestOf(n)
		if (now == last) != c.same {
			t.Errorf("%s: from %s to %s", c.name, last, now)
		}
		// What the store has without a digest, and what etcd will be told, only an apply finds out.
		if said := strings.Contains(strings.Join(lines(preview), "\n"), manifest); said == c.same && c.name != "asset without a digest" && c.name != "member" {
			t.Errorf("%s: the preview says %q", c.name, lines(preview))
		}
		n.settled(p)
		if preview, err := n.Preview(t.Context(), p); err != nil || !preview.Empty() {
			t.Errorf("%s: the preview of a settled node: %q, %v", c.name, lines(preview), err)
		}
		last = now
	}
}

// TestInputsDrift has a changed input rewrite the manifest, and puts back what somebody did to the digest.
func TestInputsDrift(t *testing.T) {
	n := newNode(t)
	p := digested(t, n)
	n.apply(p)
	last := digestOf(n)
	must(t, os.WriteFile(n.path(manifest), []byte("a: 0000000000000000\nb: 0000000000000000\n"), 0o600))
	n.want("repair", n.apply(p), "update file "+manifest+" (drift)")
	if now := digestOf(n); now != last {
		t.Errorf("from %s to %s", last, now)
	}
}

func TestInputsInACircle(t *testing.T) {
	for name, files := range map[string][]plan.File{
		"itself":  {{Path: "/a", Inputs: []string{"/a"}}},
		"its dir": {{Path: "/d/a", Inputs: []string{"/d"}}},
		"three":   {{Path: "/a", Inputs: []string{"/b"}}, {Path: "/b", Inputs: []string{"/c"}}, {Path: "/c", Inputs: []string{"/x", "/a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newNode(t).Apply(t.Context(), &plan.Plan{Files: files})
			if reason, _ := status.ReasonOf(err); reason != status.ReasonPlanInvalid || !strings.Contains(errText(err), "lead back to itself") {
				t.Errorf("reason %s: %v", reason, err)
			}
		})
	}
}
