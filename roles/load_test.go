package roles

import (
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// tree makes a file system of texts.
func tree(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return m
}

var small = tree(map[string]string{
	"base/role.yaml": "abstract: true\ndescription: base\nlabels: {a: base, b: base}\n" +
		"dirs:\n- path: /d\n" +
		"assets:\n- {object: o, path: /bin/o, mode: \"0700\"}\n" +
		"files:\n- {path: /etc/x, mode: \"0600\", when: \"true\"}\n" +
		"units:\n- {name: one.service, enable: true, inputs: [/a, /b]}\n- {name: two.service}\n",
	"base/rootfs/etc/x.tmpl":      "x from base",
	"base/rootfs/etc/y":           "y from base",
	"base/partials/p.tmpl":        "{{ define \"p\" }}base{{ end }}",
	"worker/role.yaml":            "description: works\nextends: [base]\nlabels: {b: worker}\ntaints:\n- {key: k, effect: NoSchedule}\n",
	"worker/rootfs/etc/.hidden":   "h",
	"worker/rootfs/etc/_under":    "u",
	"worker/rootfs/deep/er/z.x.y": "z",
})

func TestLoad(t *testing.T) {
	role, err := Load(small, nil, "worker")
	if err != nil {
		t.Fatal(err)
	}
	if role.Name != "worker" || role.Description != "works" || !slices.Equal(role.Extends, []string{"base"}) {
		t.Errorf("%+v", role)
	}
	if role.Labels["a"] != "base" || role.Labels["b"] != "worker" || len(role.Taints) != 1 {
		t.Errorf("labels %v, taints %v", role.Labels, role.Taints)
	}
	var paths []string
	for _, f := range role.Files {
		paths = append(paths, f.Path+" "+f.Mode+" "+f.Syntax)
	}
	want := []string{"/deep/er/z.x.y  plain", "/etc/.hidden  plain", "/etc/_under  plain", "/etc/x 0600 template", "/etc/y  plain"}
	if !slices.Equal(paths, want) {
		t.Errorf("files %q", paths)
	}
}

func TestOverlay(t *testing.T) {
	overlay := tree(map[string]string{
		"base/role.yaml": "assets:\n- {path: /bin/o, object: other}\n" +
			"dirs:\n- {path: /d, remove: true}\n- {path: /e}\n" +
			"files:\n- {path: /etc/y, syntax: percent}\n" +
			"units:\n- {name: one.service, enable: false, inputs: [/c]}\n- {name: first.service, before: one.service}\n- {name: two.service, remove: true}\n",
		"base/rootfs/etc/x":    "x from overlay",
		"base/partials/p.tmpl": "{{ define \"p\" }}overlay{{ end }}",
		"own/role.yaml":        "extends: [worker]\netcd: \"true\"\n",
		"own/rootfs/etc/own":   "own",
	})
	role, err := Load(small, overlay, "own")
	if err != nil {
		t.Fatal(err)
	}
	if got := role.Assets[0]; got.Object != "other" || got.Mode != "0700" {
		t.Errorf("asset %+v: what the overlay does not name must stay", got)
	}
	if len(role.Dirs) != 1 || role.Dirs[0].Path != "/e" || role.Etcd != "true" {
		t.Errorf("dirs %v, etcd %q", role.Dirs, role.Etcd)
	}
	if len(role.Units) != 2 || role.Units[0].Name != "first.service" || role.Units[1].Enable || !slices.Equal(role.Units[1].Inputs, []string{"/c"}) {
		t.Errorf("units %+v", role.Units)
	}
	if len(role.Partials) != 1 || !strings.Contains(role.Partials[0].Text, "overlay") {
		t.Errorf("partials %+v", role.Partials)
	}
	for _, f := range role.Files {
		switch f.Path {
		case "/etc/x":
			if f.Text != "x from overlay" || f.Syntax != Plain || f.Mode != "0600" || f.Source != "overlay/base/rootfs/etc/x" {
				t.Errorf("%+v", f)
			}
		case "/etc/y":
			if f.Syntax != Percent || f.Text != "y from base" {
				t.Errorf("%+v", f)
			}
		}
	}
	names, err := List(small, overlay)
	if err != nil || !slices.Equal(names, []string{"own", "worker"}) {
		t.Errorf("%q %v", names, err)
	}
}

// TestOverlayPKI: authorities merge by name, certificates by path; what a later role.yaml does not name stays, and
// a replaced file keeps its inputs.
func TestOverlayPKI(t *testing.T) {
	overlay := tree(map[string]string{
		"base/role.yaml": "authorities:\n- {name: kubernetes, path: /ca.crt}\n- {name: etcd, path: /etcd.crt}\n" +
			"certs:\n- {path: /a.crt, key: /a.key, authority: kubernetes, commonName: a, organizations: [o], usages: [client], join: kube-proxy}\n" +
			"- {path: /b.pem, authority: kubernetes, commonName: b, names: [b], usages: [server]}\n" +
			"files:\n- {path: /etc/x, inputs: [/ca.crt], exclusive: one.service}\n",
		"worker/role.yaml": "authorities:\n- {name: kubernetes, key: /ca.key, signer: /signer.crt, when: \"true\"}\n- {name: etcd, remove: true}\n" +
			"certs:\n- {path: /a.crt, organizations: [p, q]}\n- {path: /b.pem, remove: true}\n" +
			"units:\n- {name: one.service, exclusive: true}\n",
		"worker/rootfs/etc/x": "x of worker",
	})
	role, err := Load(small, overlay, "worker")
	if err != nil {
		t.Fatal(err)
	}
	authorities := []Authority{{Name: "kubernetes", Path: "/ca.crt", Key: "/ca.key", Signer: "/signer.crt", When: "true"}}
	if !reflect.DeepEqual(role.Authorities, authorities) {
		t.Errorf("%+v", role.Authorities)
	}
	certs := []Cert{{
		Path: "/a.crt", Key: "/a.key", Authority: "kubernetes", CommonName: "a", Organizations: []string{"p", "q"},
		Usages: []string{"client"}, Join: "kube-proxy",
	}}
	if !reflect.DeepEqual(role.Certs, certs) {
		t.Errorf("%+v", role.Certs)
	}
	i := slices.IndexFunc(role.Files, func(f File) bool { return f.Path == "/etc/x" })
	if f := role.Files[i]; f.Text != "x of worker" || !slices.Equal(f.Inputs, []string{"/ca.crt"}) || f.Exclusive != "one.service" {
		t.Errorf("%+v", f)
	}
	if !role.Units[0].Exclusive || role.Units[1].Exclusive {
		t.Errorf("%+v", role.Units)
	}
}

func TestDigest(t *testing.T) {
	plain, err := Load(small, nil, "worker")
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]bool{plain.Digest: true}
	for i, overlay := range []map[string]string{
		{"base/rootfs/etc/y": "changed"},
		{"base/rootfs/etc/new": ""},
		{"worker/role.yaml": "labels: {b: c}"},
		{"base/partials/q.tmpl": "x"},
	} {
		role, err := Load(small, tree(overlay), "worker")
		if err != nil {
			t.Fatal(err)
		}
		if digests[role.Digest] {
			t.Errorf("overlay %d has the digest of another role", i)
		}
		digests[role.Digest] = true
	}
	again, err := Load(small, tree(nil), "worker")
	if err != nil || again.Digest == "" {
		t.Fatal(err)
	}
	if third, _ := Load(small, tree(map[string]string{"unrelated/role.yaml": "description: x"}), "worker"); third.Digest != again.Digest {
		t.Error("a role that is not part of it changed the digest")
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		role    string
		overlay map[string]string
		want    []string
	}{
		"unknown role":       {"wroker", nil, []string{`role "wroker" is not known, only worker`, "add roles/wroker/role.yaml"}},
		"abstract role":      {"base", nil, []string{`role "base" is not known`}},
		"unknown key":        {"worker", map[string]string{"worker/role.yaml": "descr1ption: x\n"}, []string{"overlay/worker/role.yaml:1:1", "descr1ption"}},
		"key of wrong case":  {"worker", map[string]string{"worker/role.yaml": "Extends: [base]\n"}, []string{"overlay/worker/role.yaml:1:1", "Extends"}},
		"key twice":          {"worker", map[string]string{"worker/role.yaml": "etcd: a\netcd: b\n"}, []string{"overlay/worker/role.yaml:2:"}},
		"unknown entry key":  {"worker", map[string]string{"worker/role.yaml": "units:\n- name: x.service\n  enabled: true\n"}, []string{"overlay/worker/role.yaml:3:", "enabled"}},
		"wrong type":         {"worker", map[string]string{"worker/role.yaml": "units:\n- name: x.service\n  enable: maybe\n"}, []string{"overlay/worker/role.yaml:3:"}},
		"no YAML":            {"worker", map[string]string{"worker/role.yaml": "a: [\n"}, []string{"overlay/worker/role.yaml:"}},
		"entry without name": {"worker", map[string]string{"worker/role.yaml": "dirs:\n- mode: \"0700\"\n"}, []string{"overlay/worker/role.yaml:2:3", "without a name or path"}},
		"removes nothing":    {"worker", map[string]string{"worker/role.yaml": "units:\n- {name: no.service, remove: true}\n"}, []string{"removes no.service, which is not there"}},
		"before nothing":     {"worker", map[string]string{"worker/role.yaml": "units:\n- {name: a.service, before: no.service}\n"}, []string{"before no.service"}},
		"file without text":  {"worker", map[string]string{"worker/role.yaml": "files:\n- {path: /etc/nothing, mode: \"0600\"}\n"}, []string{"/etc/nothing has no text", "overlay/worker/rootfs"}},
		"asset of nothing":   {"worker", map[string]string{"worker/role.yaml": "assets:\n- {path: /bin/q}\n"}, []string{"asset /bin/q", "names no object"}},
		"unknown syntax":     {"worker", map[string]string{"worker/role.yaml": "files:\n- {path: /etc/y, syntax: jinja}\n"}, []string{`"jinja" is not known`}},
		"unknown parent":     {"own", map[string]string{"own/role.yaml": "extends: [parent]\n"}, []string{"role parent, which own extends, has no role.yaml"}},
		"circle":             {"own", map[string]string{"own/role.yaml": "extends: [other]\n", "other/role.yaml": "extends: [own]\n"}, []string{"own -> other -> own"}},
		"no role.yaml":       {"own", map[string]string{"own/rootfs/etc/x": "x"}, []string{"role own has no role.yaml"}},
		"two for one path":   {"worker", map[string]string{"worker/rootfs/etc/q": "x", "worker/rootfs/etc/q.tmpl": "x"}, []string{"etc/q.tmpl", "writes the same file"}},
		"kernel path":        {"worker", map[string]string{"worker/rootfs/proc/sys/x": "1"}, []string{"overlay/worker/rootfs/proc/sys/x", "use sysctls"}},
		"relative dir":       {"worker", map[string]string{"worker/role.yaml": "dirs:\n- path: ../etc\n"}, []string{"relative"}},
		"climbing asset":     {"worker", map[string]string{"worker/role.yaml": "assets:\n- {object: o, path: /usr/../../etc/passwd}\n"}, []string{`write "/etc/passwd"`}},
		"control character":  {"worker", map[string]string{"worker/rootfs/etc/a\nb": "x"}, []string{"no path should have"}},
		"file too large":     {"worker", map[string]string{"worker/rootfs/etc/big": strings.Repeat("x", maxFile+1)}, []string{"make it an asset"}},
		"unknown authority":  {"worker", map[string]string{"worker/role.yaml": "authorities:\n- {name: kubernets, path: /p}\n"}, []string{"overlay/worker/role.yaml:2:3", `authority "kubernets" is not known`, "front-proxy"}},
		"authority nowhere":  {"worker", map[string]string{"worker/role.yaml": "authorities:\n- {name: etcd, key: /k}\n"}, []string{"overlay/worker/role.yaml:2:3: etcd: empty path"}},
		"authority on /proc": {"worker", map[string]string{"worker/role.yaml": "authorities:\n- {name: etcd, path: /p, key: /proc/k}\n"}, []string{"overlay/worker/role.yaml:2:3: etcd", "/proc/k"}},
		"authority in one":   {"worker", map[string]string{"worker/role.yaml": "authorities:\n- {name: etcd, path: /p, key: /p}\n"}, []string{"/p would hold two things"}},
		"signer of no key":   {"worker", map[string]string{"worker/role.yaml": "authorities:\n- {name: etcd, path: /p, signer: /s}\n"}, []string{"signer: the certificate of a key that the node does not hold"}},
		"signer of a pair":   {"worker", map[string]string{"worker/role.yaml": "authorities:\n- {name: service-account, path: /p, key: /k, signer: /s}\n"}, []string{"signer: a key pair has no certificate"}},
		"authority's entry":  {"worker", map[string]string{"worker/role.yaml": "authorities:\n- {name: etcd, path: /p, certificate: /c}\n"}, []string{"overlay/worker/role.yaml:2:", "certificate"}},
		"cert without CN":    {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, authority: etcd, usages: [client]}\n"}, []string{"overlay/worker/role.yaml:2:3: /p: no commonName"}},
		"cert of nobody":     {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, usages: [client]}\n"}, []string{`authority "" is not known`}},
		"cert of a key pair": {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, authority: service-account, usages: [client]}\n"}, []string{"service-account is a key pair"}},
		"cert for nothing":   {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, authority: etcd}\n"}, []string{"no usages: add client"}},
		"unknown usage":      {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, authority: etcd, usages: [peer]}\n"}, []string{"overlay/worker/role.yaml:2:3: /p", `usage "peer" is not known: use client or server`}},
		"usage twice":        {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, authority: etcd, usages: [client, client]}\n"}, []string{"usage client: given twice"}},
		"nameless server":    {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, authority: etcd, usages: [server]}\n"}, []string{"needs names"}},
		"key in kubeconfig":  {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, key: /k, commonName: x, authority: etcd, usages: [client], kubeconfig: 'https://x'}\n"}, []string{"kubeconfig: it holds the key as well"}},
		"server kubeconfig":  {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, authority: etcd, names: [x], usages: [server], kubeconfig: 'https://x'}\n"}, []string{"kubeconfig: only a client's"}},
		"unknown request":    {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, authority: kubernetes, usages: [client], join: kubelet}\n"}, []string{`join "kubelet" is not known: use kubelet-client or`}},
		"request of etcd's":  {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, commonName: x, authority: etcd, usages: [client], join: kube-proxy}\n"}, []string{"masters sign with authority kubernetes only"}},
		"relative cert":      {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: p, commonName: x, authority: etcd, usages: [client]}\n"}, []string{"relative"}},
		"key as cert":        {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, key: /p, commonName: x, authority: etcd, usages: [client]}\n"}, []string{"/p would hold two things"}},
		"cert made wrong": {"worker", map[string]string{
			"base/role.yaml":   "certs:\n- {path: /p, commonName: x, authority: etcd, usages: [client]}\n",
			"worker/role.yaml": "certs:\n- {path: /p, usages: [server]}\n",
		}, []string{"overlay/worker/role.yaml:2:3: /p", "needs names"}},
		"removes no cert": {"worker", map[string]string{"worker/role.yaml": "certs:\n- {path: /p, remove: true}\n"}, []string{"removes /p, which is not there"}},
		"two mistakes": {"worker", map[string]string{"worker/rootfs/dev/x": "x", "base/role.yaml": "dirs:\n- {path: /nope, remove: true}\n", "base/rootfs/sys/y": "y"},
			[]string{"/dev/x", "/sys/y"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(small, tree(test.overlay), test.role)
			if err == nil {
				t.Fatal("loaded")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

// TestNotRegular: what is no plain file is refused, so a directory overlay cannot lead out of itself.
func TestNotRegular(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/worker/rootfs/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", dir+"/worker/rootfs/etc/leak"); err != nil {
		t.Fatal(err)
	}
	_, err := Load(small, os.DirFS(dir), "worker")
	if err == nil || !strings.Contains(err.Error(), "overlay/worker/rootfs/etc/leak: not a regular file") {
		t.Errorf("got %v", err)
	}
}

// TestBuiltin: every directory here is embedded, whole, and every role loads.
func TestBuiltin(t *testing.T) {
	names, err := List(Builtin(), nil)
	if err != nil || !slices.Equal(names, []string{"etcd", "loadbalancer", "master", "minion"}) {
		t.Errorf("%q %v", names, err)
	}
	for _, name := range names {
		role, err := Load(Builtin(), nil, name)
		if err != nil {
			t.Error(err)
		}
		if role.Description == "" {
			t.Errorf("role %s has no description", name)
		}
	}
	err = fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(name, "/") {
			return err
		}
		want, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		got, err := fs.ReadFile(Builtin(), name)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not embedded: %v", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add("description: x\nextends: [base]\nunits:\n- {name: a.service, remove: true}\n")
	f.Add("files:\n- path: /etc/x\n  mode: \"0600\"\n- &a {path: /b}\n- *a\n")
	f.Add("authorities:\n- {name: etcd, path: /p}\ncerts:\n- {path: /c, authority: etcd, commonName: x, usages: [client]}\n")
	f.Add("dirs: [1, null, [], {}]\nassets: {}\n")
	f.Fuzz(func(t *testing.T, text string) {
		role, err := Load(small, tree(map[string]string{"worker/role.yaml": text}), "worker")
		if err != nil {
			return
		}
		for _, d := range role.Dirs {
			if CheckPath(d.Path) != nil {
				t.Errorf("directory %q passed", d.Path)
			}
		}
		for _, file := range role.Files {
			if CheckPath(file.Path) != nil {
				t.Errorf("file %q passed", file.Path)
			}
		}
		for _, a := range role.Authorities {
			if a.Check() != nil {
				t.Errorf("authority %+v passed", a)
			}
		}
		for _, c := range role.Certs {
			if c.Check() != nil {
				t.Errorf("certificate %+v passed", c)
			}
		}
	})
}
