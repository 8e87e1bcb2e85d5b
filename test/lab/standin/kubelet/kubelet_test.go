package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes files below a root and makes it the node's.
func tree(t *testing.T, files map[string]string) {
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
}

// expect compares an error with what it should say; an empty want is none at all.
func expect(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--config=/a --node-ip=10.0.0.1 --v=2 --register-node=false --rotate-certificates", ""},
		{"--pod-infra-container-image=pause", "unknown flag"}, // removed in 1.35
		{"--container-runtime=remote", "unknown flag"},
		{"--config=/a start", "unknown command start"},
	} {
		_, err := parseFlags(strings.Fields(c.args))
		t.Run(c.args, func(t *testing.T) { expect(t, err, c.want) })
	}
}

const base = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 29
kubeReserved: {memory: 500Mi}
clusterDNS: [10.0.0.10, 10.0.0.11]
`

func TestDropInsLieOverTheConfiguration(t *testing.T) {
	head := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	tree(t, map[string]string{
		"/c.yaml":         base,
		"/d/20-late.conf": head + "maxPods: 50\n",
		"/d/10-soon.conf": head + "maxPods: 40\nkubeReserved: {cpu: 100m}\nclusterDNS: [10.0.0.12]\n",
		"/d/30-not.yaml":  "no: drop-in",
	})
	c, err := readConfiguration("/c.yaml", "/d")
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxPods != 50 || len(c.KubeReserved) != 2 || len(c.ClusterDNS) != 1 || c.ClusterDNS[0] != "10.0.0.12" {
		t.Errorf("maxPods %d, kubeReserved %v, clusterDNS %v", c.MaxPods, c.KubeReserved, c.ClusterDNS)
	}
}

func TestConfigurationIsStrict(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"sound", base, ""},
		{"unknown field", base + "maxPod: 3\n", `unknown field "maxPod"`},
		{"duplicate field", base + "maxPods: 3\n", `"maxPods" already set`},
		{"wrong type", base + "serializeImagePulls: often\n", "serializeImagePulls"},
		{"another kind", strings.Replace(base, "KubeletConfiguration", "Kubelet", 1), "is no kubelet.config.k8s.io"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree(t, map[string]string{"/c.yaml": c.text})
			_, err := readConfiguration("/c.yaml", "")
			expect(t, err, c.want)
		})
	}
}

func TestStaticPodsAreStrict(t *testing.T) {
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n"
	for _, c := range []struct{ name, text, want string }{
		{"sound", pod, ""},
		{"unknown field", strings.Replace(pod, "image:", "img:", 1), `unknown field "img"`},
		{"no container", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n", "no v1 Pod"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree(t, map[string]string{"/m/a.yaml": c.text, "/m/.hidden": "%"})
			pods, err := readStaticPods("/m")
			expect(t, err, c.want)
			if c.want == "" && (len(pods) != 1 || pods[0].Name != "a") {
				t.Errorf("pods %v", pods)
			}
		})
	}
}

func TestKubeconfig(t *testing.T) {
	sound := `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://api:6443"}}]
users: [{name: u, user: {client-certificate: /a, client-key: /b}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
	for _, c := range []struct{ name, text, want string }{
		{"sound", sound, ""},
		{"no such context", strings.Replace(sound, "current-context: x", "current-context: y", 1), "no such context"},
		{"no server", strings.Replace(sound, "cluster: c,", "cluster: d,", 1), "has no server"},
		{"unknown field", sound + "extra: 1\n", "unknown field"},
		{"no certificate", strings.Replace(sound, "client-certificate: /a", "client-certificate: /c", 1), "user u: /c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			certificate, key := newCA(t).issue(t, "u", "")
			tree(t, map[string]string{"/k": c.text, "/a": certificate, "/b": key})
			_, err := checkKubeconfig("/k")
			expect(t, err, c.want)
		})
	}
}
