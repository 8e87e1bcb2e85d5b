package plan

import (
	"slices"
	"strings"
	"testing"

	"rekindle/agent/config"
	"rekindle/roles"
)

func printed(t *testing.T, in Input) string {
	t.Helper()
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Print(&out, p); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestRotationNeutral: where authorities come from, how they are kept and what keys are made of is no part of a plan, so
// that none of it changes while they are rotated.
func TestRotationNeutral(t *testing.T) {
	in := readCase(t, "rotation-neutral")
	before := printed(t, in)
	in.Config.PKI.Authorities = map[string]config.AuthorityRefs{"etcd": {Certificate: "s3:new.crt", Key: "s3:new.key"}}
	in.Config.PKI.KMSKey, in.Config.PKI.Seal, in.Config.PKI.KeyAlgorithm, in.Config.PKI.AuthorityLife = "", true, "RSA-2048", 1
	if after := printed(t, in); after != before {
		t.Errorf("the plan changed:\n%s", strings.Join(hunks(split(before), split(after), 1), "\n"))
	}
	in.Config.PKI.Life++
	if printed(t, in) == before {
		t.Error("another life makes the same plan")
	}
}

// TestSigners: a node with the authority's key signs itself, whatever the role says of masters.
func TestSigners(t *testing.T) {
	for name, want := range map[string]int{"master-aws": 0, "minion-aws": 3, "changed": 0, "storage": 2, "etcd-dedicated": 0} {
		p, err := Make(readCase(t, name))
		if err != nil {
			t.Fatal(err)
		}
		asked := slices.DeleteFunc(slices.Clone(p.Certs), func(c Cert) bool { return c.Join == "" })
		if len(asked) != want {
			t.Errorf("%s: asks masters for %d certificates, want %d", name, len(asked), want)
		}
	}
}

// TestPlaintext: with etcd in the clear nothing of its authority is left, in no form of a master and not on a node of its
// own.
func TestPlaintext(t *testing.T) {
	for _, name := range []string{"lab", "lab-pods", "etcd-aws", "external-etcd", "events"} {
		in := readCase(t, name)
		in.Config.Etcd.Plaintext = true
		for i, endpoint := range in.Config.Etcd.Endpoints {
			in.Config.Etcd.Endpoints[i] = strings.Replace(endpoint, "https:", "http:", 1)
		}
		text := printed(t, in)
		for _, trace := range []string{"authority: etcd", "name: etcd\n  path: /etc/kubernetes", "etcd/ca.crt", "etcd-client"} {
			if strings.Contains(text, trace) {
				t.Errorf("%s: has %q", name, trace)
			}
		}
	}
}

// TestJoinWarning: a master whose configuration lets nobody join says so; other nodes do not care.
func TestJoinWarning(t *testing.T) {
	for name, want := range map[string]bool{"master-aws": true, "lab-tls": false, "minion-aws": false, "etcd-aws": false} {
		p, err := Make(readCase(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(p.Warnings, "\n"), "set join.iamRoles"); got != want {
			t.Errorf("%s: warnings %q", name, p.Warnings)
		}
	}
}

// TestStartedWith: what a component reads only at its start is among its inputs, and nothing of what it reads again.
func TestStartedWith(t *testing.T) {
	const pki = "/etc/kubernetes/pki/"
	for _, minor := range []string{"1.34.9", "1.35.4", "1.36.1", "1.37.2"} {
		in := readCase(t, "master-aws")
		in.Config.Kubernetes.Version = minor
		p, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		apiServer := []string{"/etc/kubernetes/audit-policy.yaml", "/etc/kubernetes/authentication.yaml", pki + "etcd/ca.crt", pki + "sa.key", pki + "sa.pub"}
		var kubelet []string
		if minor < "1.36" {
			apiServer, kubelet = append(apiServer, pki+"ca.crt"), []string{pki + "ca.crt"}
			slices.Sort(apiServer)
		}
		want := map[string][]string{
			"kube-apiserver":          apiServer,
			"kube-controller-manager": {"/etc/kubernetes/controller-manager.conf", pki + "ca.crt", pki + "sa.key"},
			"kube-scheduler":          {"/etc/kubernetes/scheduler.conf"},
			"etcd-main":               {pki + "etcd/ca.crt"},
			"kube-proxy":              {"/etc/kubernetes/kube-proxy.conf", pki + "ca.crt"},
		}
		for _, f := range p.Files {
			name, static := strings.CutPrefix(f.Path, manifestsDir+"/")
			if name = strings.TrimSuffix(name, ".yaml"); !static {
				continue
			}
			if !slices.Equal(f.Inputs, want[name]) {
				t.Errorf("%s: %s: inputs %q, want %q", minor, name, f.Inputs, want[name])
			}
			if alone := f.Exclusive == "kubelet.service"; alone == (name == "kube-proxy") {
				t.Errorf("%s: exclusive %q", name, f.Exclusive)
			}
			delete(want, name)
		}
		for name := range want {
			t.Errorf("%s: no %s", minor, name)
		}
		i := slices.IndexFunc(p.Units, func(u Unit) bool { return u.Name == "kubelet.service" })
		got := slices.DeleteFunc(slices.Clone(p.Units[i].Inputs), func(in string) bool { return !strings.Contains(in, "/pki/") })
		if !slices.Equal(got, kubelet) {
			t.Errorf("%s: the kubelet is started again by %q, want %q", minor, got, kubelet)
		}
	}
}

// TestReplacedManifest: an operator's manifest in the place of a role's still waits for its turn, and keeps the inputs if
// it says where their digest goes.
func TestReplacedManifest(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\n  annotations: {x: \"MARK\"}\nspec:\n  containers:\n  - {name: a, image: a}\n"
	for mark, inputs := range map[string]int{InputsMark: 5, "none": 0} {
		in := readCase(t, "master-aws")
		in.Config.Files = []config.File{{Path: apiServerManifest, Content: strings.ReplaceAll(pod, "MARK", mark)}}
		p, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(p.Files, func(f File) bool { return f.Path == apiServerManifest })
		if f := p.Files[i]; f.Exclusive != "kubelet.service" || len(f.Inputs) != inputs {
			t.Errorf("%s: exclusive %q, inputs %q", mark, f.Exclusive, f.Inputs)
		}
	}
}

// TestInputsOfFiles: a glob that matches the file itself does not mean it.
func TestInputsOfFiles(t *testing.T) {
	in := readCase(t, "master-aws")
	in.Role.Files = append(slices.Clone(in.Role.Files),
		roles.File{Path: "/etc/own/a", Text: InputsMark, Syntax: roles.Plain, Inputs: []string{"/etc/own/*"}},
		roles.File{Path: "/etc/own/b", Text: "b", Syntax: roles.Plain})
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Files, func(f File) bool { return f.Path == "/etc/own/a" })
	if want := []string{"/etc/own/b"}; !slices.Equal(p.Files[i].Inputs, want) {
		t.Errorf("%q", p.Files[i].Inputs)
	}
}

func TestAnonymousHealth(t *testing.T) {
	val := "x"
	for name, test := range map[string]struct {
		extra map[string]*string
		want  bool
	}{
		"nothing":          {nil, true},
		"something else":   {map[string]*string{"v": &val}, true},
		"a file":           {map[string]*string{"authentication-config": &val}, false},
		"no file":          {map[string]*string{"authentication-config": nil}, false},
		"the flag":         {map[string]*string{"anonymous-auth": &val}, false},
		"OIDC":             {map[string]*string{"oidc-issuer-url": &val}, false},
		"OIDC taken back":  {map[string]*string{"oidc-issuer-url": nil}, true},
		"much like a flag": {map[string]*string{"requestheader-oidc-": &val}, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := readCase(t, "master-aws")
			in.Config.Kubernetes.APIServer.ExtraArgs = test.extra
			text := printed(t, in)
			if got := strings.Contains(text, "--authentication-config=/etc/kubernetes/authentication.yaml"); got != test.want {
				t.Errorf("flag: %v", got)
			}
			if got := strings.Contains(text, "- path: /etc/kubernetes/authentication.yaml"); got != test.want {
				t.Errorf("file: %v", got)
			}
		})
	}
}

func TestDistinct(t *testing.T) {
	got := distinct([]string{" A.b ", "", "10.0.0.1", "a.b", "::ffff:10.0.0.1", "2001:DB8:0::1", "*.A.b", " ", "2001:db8::1"})
	if want := []string{"a.b", "10.0.0.1", "2001:db8::1", "*.a.b"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestServiceNames: the service has the first address of its network, however the network is written.
func TestServiceNames(t *testing.T) {
	in := readCase(t, "master-aws")
	in.Config.Kubernetes.ServiceCIDRs = []string{"10.1.2.3/16", "fd00:7::5/112"}
	in.Config.Kubernetes.APIEndpoint = "https://[2001:db8::9]:443"
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Certs, func(c Cert) bool { return c.CommonName == "kube-apiserver" })
	for _, want := range []string{"10.1.0.1", "fd00:7::1", "2001:db8::9"} {
		if !slices.Contains(p.Certs[i].Names, want) {
			t.Errorf("%q lacks %s", p.Certs[i].Names, want)
		}
	}
}

// TestInputsOfUnits: units are started again by every file of authorities and certificates.
func TestInputsOfUnits(t *testing.T) {
	in := readCase(t, "master-aws")
	in.Role.Units = append(slices.Clone(in.Role.Units), roles.Unit{
		Name: "x.service", Inputs: []string{"/etc/kubernetes/pki/ca*", "/var/lib/{{ .Env.NOTHING }}rekindle/pki/*", "{{ if false }}/etc/*{{ end }}"},
	})
	in.Config.Env = map[string]string{"NOTHING": ""}
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/etc/kubernetes/pki/ca-signer.crt", "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.key",
		"/var/lib/rekindle/pki/join.crt", "/var/lib/rekindle/pki/join.key",
	}
	i := slices.IndexFunc(p.Units, func(u Unit) bool { return u.Name == "x.service" })
	if !slices.Equal(p.Units[i].Inputs, want) {
		t.Errorf("%q", p.Units[i].Inputs)
	}
}

// TestCheckPKI looks at plans that were printed, edited and read.
func TestCheckPKI(t *testing.T) {
	p := &Plan{
		Authorities: []Authority{{Name: "etcd", Path: "/etcd.crt"}, {Name: "etcd", Path: "/again.crt"}, {Name: "own", Path: "/own.crt"}, {Name: "kubernetes", Path: "/d"}},
		Certs: []Cert{
			{Path: "/a", Authority: "etcd", CommonName: "a", Usages: []string{"client"}, Life: "720h0m0s"},
			{Path: "/b", Authority: "front-proxy", CommonName: "b", Usages: []string{"client"}, Life: "a month"},
			{Path: "/c", Authority: "kubernetes", CommonName: "c", Usages: []string{"root"}, Life: "-1h", Join: "kube-proxy"},
			{Path: "/d/e", Key: "/b", Authority: "kubernetes", Usages: []string{"client"}, Life: "1h", Join: "kubelet-client"},
		},
		Files: []File{{Path: "/f", Mode: 0o644, From: "s3:x", Inputs: []string{"/a"}}},
	}
	var text strings.Builder
	for _, err := range Check(p) {
		text.WriteString(err.Error() + "\n")
	}
	for _, want := range []string{
		"authority etcd: is there twice", `authority own: authority "own" is not known`,
		"cert /a: nobody signs it", "cert /b: authority front-proxy is not held", `cert /b: life "a month"`,
		`cert /c: usage "root"`, `cert /c: life "-1h"`, "cert /d/e: no commonName", "/d/e: lies under /d",
		"/b: is there twice, as cert and as key of cert /d/e", "/f: has inputs and nowhere to put their digest",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("lacks %q:\n%s", want, &text)
		}
	}
}

// TestDiffPKI: what changes of an authority, a certificate or a file's inputs shows under its own name.
func TestDiffPKI(t *testing.T) {
	old := &Plan{
		Authorities: []Authority{{Name: "etcd", Path: "/etcd.crt"}},
		Certs:       []Cert{{Path: "/a", Authority: "etcd", CommonName: "a", Names: []string{"a"}, Usages: []string{"client"}, Life: "720h0m0s"}},
		Files:       []File{{Path: "/f", Mode: 0o644, Content: "x\n"}},
	}
	now := &Plan{
		Authorities: []Authority{{Name: "etcd", Path: "/etcd.crt", Key: "/etcd.key"}},
		Certs:       []Cert{{Path: "/a", Authority: "etcd", CommonName: "a", Names: []string{"a", "b"}, Usages: []string{"client"}, Life: "720h0m0s"}},
		Files:       []File{{Path: "/f", Mode: 0o644, Content: "x\n", Inputs: []string{"/a"}, Exclusive: "kubelet.service"}},
	}
	var out strings.Builder
	if changed, err := Diff(&out, old, now, false); err != nil || !changed {
		t.Fatal(changed, err)
	}
	for _, want := range []string{"~ authority etcd\n", "+key: /etcd.key\n", "~ cert /a\n", "\n+- b\n", "~ file /f\n", "+# input /a\n", "+# exclusive while kubelet.service runs\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, &out)
		}
	}
}

// TestNamesInOne: one text may render several names; organizations and names that are empty or there already are left out.
func TestNamesInOne(t *testing.T) {
	in := readCase(t, "master-aws")
	in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
		Path: "/etc/x.crt", Key: "/etc/x.key", Authority: "etcd", CommonName: " {{ .Cluster }} ", Usages: []string{"server"},
		Organizations: []string{"{{ .Role }}", "", "master"},
		Names:         []string{"{{ .Node.Name }}, {{ join \",\" .Node.IPs }},,", "{{ .Node.IP }}", "{{ .Config.Node.Labels.none }}x"},
	})
	in.Config.Node.Labels = map[string]string{"none": ""}
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Certs, func(c Cert) bool { return c.Path == "/etc/x.crt" })
	c := p.Certs[i]
	if c.CommonName != "prod.example" || !slices.Equal(c.Organizations, []string{"master"}) ||
		!slices.Equal(c.Names, []string{"i-0a1b2c3d4e5f60718", "10.0.1.17", "x"}) {
		t.Errorf("%+v", c)
	}
}
