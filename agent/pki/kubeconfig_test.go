package pki

import (
	"bytes"
	"strings"
	"testing"
)

func TestKubeconfig(t *testing.T) {
	authority := testAuthority(t, Kubernetes, 3650*testDay, testNow)
	leaf := testLeaf(t, authority, clientSpec(), testNow)
	data, err := Kubeconfig("https://127.0.0.1:6443", "system:kube-scheduler", authority.CertificatePEM(), leaf.Certificate, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Kubeconfig("https://127.0.0.1:6443", "system:kube-scheduler", authority.CertificatePEM(), leaf.Certificate, leaf.Key)
	if err != nil || !bytes.Equal(data, again) {
		t.Error("not the same twice:", err)
	}
	cert, key, err := ParseKubeconfig(data)
	if err != nil || !bytes.Equal(cert, leaf.Certificate) || !bytes.Equal(key, leaf.Key) {
		t.Errorf("read back: %v", err)
	}
	// What kubeadm's renewal.kubeConfigReadWriter wants: the current context's cluster with an embedded authority, and its
	// user with an embedded certificate.
	for _, want := range []string{
		"apiVersion: v1\n", "kind: Config\n", "current-context: system:kube-scheduler@kubernetes\n", "certificate-authority-data: ",
		"client-certificate-data: ", "client-key-data: ", "server: https://127.0.0.1:6443\n", "name: kubernetes\n",
		"name: system:kube-scheduler@kubernetes\n", "user: system:kube-scheduler\n",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %q in\n%s", want, data)
		}
	}
}

func TestParseKubeconfigRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          " \n",
		"no YAML":        "users: [{name: secret",
		"no context":     "current-context: a@b\nusers: [{name: a}]",
		"another user":   "current-context: a@b\ncontexts: [{name: a@b, context: {user: c}}]\nusers: [{name: a}]",
		"no base64":      "current-context: a\nusers: [{name: a, user: {client-key-data: 'secret!'}}]",
		"endless":        strings.Repeat("#", maxPEM+1),
		"a list":         "[]",
		"a private key?": "-----BEGIN secret-----",
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := ParseKubeconfig([]byte(text)); err == nil || strings.Contains(err.Error(), "secret") {
				t.Error(err)
			}
		})
	}
	// A kubeconfig that refers to files is one without a certificate of its own.
	cert, key, err := ParseKubeconfig([]byte("current-context: a\ncontexts: [{name: a, context: {user: a}}]\nusers: [{name: a, user: {client-key: /a}}]"))
	if cert != nil || key != nil || err != nil {
		t.Errorf("%q, %q, %v", cert, key, err)
	}
}

func FuzzParseKubeconfig(f *testing.F) {
	data, err := Kubeconfig("https://a:6443", "a", []byte("ca"), []byte("cert"), []byte("key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		cert, key, err := ParseKubeconfig(data)
		if err != nil {
			return
		}
		written, err := Kubeconfig("https://a:6443", "a", nil, cert, key)
		if err != nil {
			t.Fatal(err)
		}
		cert2, key2, err := ParseKubeconfig(written)
		if err != nil || !bytes.Equal(cert, cert2) || !bytes.Equal(key, key2) {
			t.Errorf("not the same again: %v", err)
		}
	})
}
