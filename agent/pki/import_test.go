package pki

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"rekindle/agent/status"
)

// files makes a directory of name, content pairs.
func files(pairs ...any) fstest.MapFS {
	dir := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		data, _ := pairs[i+1].([]byte)
		dir[pairs[i].(string)] = &fstest.MapFile{Data: data}
	}
	return dir
}

func TestFindImports(t *testing.T) {
	ca, worker, etcd, proxy, sa := made(t, Kubernetes), made(t, Kubernetes), made(t, Etcd), made(t, FrontProxy), made(t, ServiceAccount)
	crt, key := ca.CertificatePEM(), keyText(t, ca)
	for name, test := range map[string]struct {
		dir  fstest.MapFS
		only []string
		want string // authority: files; ...
		note string
		err  string
	}{
		"kubeadm": {dir: files("ca.crt", crt, "ca.key", key, "etcd/ca.crt", etcd.CertificatePEM(), "etcd/ca.key", keyText(t, etcd),
			"front-proxy-ca.crt", proxy.CertificatePEM(), "front-proxy-ca.key", keyText(t, proxy), "sa.key", keyText(t, sa), "sa.pub", sa.CertificatePEM(),
			"apiserver.crt", crt, "apiserver.key", key),
			want: "kubernetes: ca.crt ca.key; etcd: etcd/ca.crt etcd/ca.key; front-proxy: front-proxy-ca.crt front-proxy-ca.key; " +
				"service-account: sa.pub sa.key"},
		"kubeadm, tokens' key alone": {dir: files("sa.key", keyText(t, sa)), want: "service-account: sa.key"},
		"kube-aws": {dir: files("ca.pem", crt, "worker-ca.pem", crt, "ca-key.pem", key, "worker-ca-key.pem", key, "etcd-trusted-ca.pem", crt,
			"service-account-key.pem", keyText(t, sa), "apiserver-key.pem", key, "apiserver.pem", crt),
			want: "kubernetes: ca.pem worker-ca.pem ca-key.pem; service-account: service-account-key.pem", note: "every node's certificate would open etcd"},
		"an early kube-aws": {dir: files("ca.pem", crt, "ca-key.pem", key, "apiserver-key.pem", keyText(t, sa)),
			want: "kubernetes: ca.pem ca-key.pem; service-account: apiserver-key.pem"},
		"kube-aws with a worker CA": {dir: files("ca.pem", append(bytes.Clone(crt), worker.CertificatePEM()...), "worker-ca.pem",
			worker.CertificatePEM(), "worker-ca-key.pem", keyText(t, worker)),
			want: "kubernetes: ca.pem worker-ca.pem worker-ca-key.pem"},
		"kube-aws with etcd's own": {dir: files("ca.pem", crt, "ca-key.pem", key, "etcd-trusted-ca.pem", etcd.CertificatePEM()),
			err: "etcd-trusted-ca.pem: an authority of its own"},
		"that, with its key": {dir: files("ca.pem", crt, "ca-key.pem", key, "etcd-trusted-ca.pem", etcd.CertificatePEM(), "etcd/ca.crt",
			etcd.CertificatePEM(), "etcd/ca.key", keyText(t, etcd)),
			want: "etcd: etcd/ca.crt etcd/ca.key; kubernetes: ca.pem ca-key.pem", note: "there is etcd/ca.crt"},
		"that, without etcd": {dir: files("ca.pem", crt, "ca-key.pem", key, "etcd-trusted-ca.pem", etcd.CertificatePEM()),
			only: []string{Kubernetes}, want: "kubernetes: ca.pem ca-key.pem"},
		"only one":        {dir: files("ca.crt", crt, "ca.key", key, "sa.pub", []byte("x")), only: []string{Kubernetes}, want: "kubernetes: ca.crt ca.key"},
		"both":            {dir: files("ca.crt", crt, "ca.key", key, "ca.pem", crt, "ca-key.pem", key), err: "under kubeadm's names and under kube-aws's"},
		"nothing":         {dir: files("readme", []byte("x")), err: "no authority in it"},
		"no key":          {dir: files("ca.crt", crt), err: "ca.crt: no key beside it (ca.key)"},
		"no certificate":  {dir: files("ca.key", key), err: "ca.key: no certificate beside it (ca.crt)"},
		"no private key":  {dir: files("sa.pub", sa.CertificatePEM()), err: "sa.pub without its private key"},
		"encrypted":       {dir: files("ca.pem", crt, "ca-key.pem.enc", []byte("x")), err: "aws kms decrypt"},
		"another's key":   {dir: files("ca.crt", crt, "ca.key", keyText(t, worker)), err: "does not fit"},
		"an empty file":   {dir: files("ca.crt", crt, "ca.key", []byte{}), err: "ca.key: 0 bytes"},
		"a large file":    {dir: files("ca.crt", bytes.Repeat(crt, 1000), "ca.key", key), err: "ca.crt: "},
		"two mistakes":    {dir: files("ca.crt", crt, "front-proxy-ca.key", keyText(t, proxy)), err: "front-proxy-ca.key: no certificate"},
		"garbled trusted": {dir: files("ca.pem", crt, "ca-key.pem", key, "etcd-trusted-ca.pem", []byte("x")), err: "etcd-trusted-ca.pem: certificates: it is not PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			found, notes, err := FindImports(test.dir, test.only, start)
			wantError(t, err, test.err)
			var said []string
			for _, one := range found {
				said = append(said, one.Name+": "+strings.Join(one.Files, " "))
			}
			if got := strings.Join(said, "; "); got != test.want {
				t.Errorf("found %s, want %s", got, test.want)
			}
			if got := strings.Join(notes, "\n"); !strings.Contains(got, test.note) || test.note == "" && got != "" {
				t.Errorf("notes %q, want %q", got, test.note)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE KEY--") {
				t.Error("the error quotes a key")
			}
		})
	}
	_, _, err := FindImports(files("ca.crt", crt, "ca.key", key), nil, start.Add(11*year))
	wantError(t, err, "expired at")
}

// The CA that the key belongs to signs, wherever it lies in the bundle; the links of kube-aws do not double it.
func TestImportOrder(t *testing.T) {
	ca, worker := made(t, Kubernetes), made(t, Kubernetes)
	found, _, err := FindImports(files("ca.pem", append(ca.CertificatePEM(), worker.CertificatePEM()...), "worker-ca.pem",
		worker.CertificatePEM(), "worker-ca-key.pem", keyText(t, worker)), nil, start)
	if err != nil {
		t.Fatal(err)
	}
	if a := found[0]; a.Fingerprint() != worker.Fingerprint() || len(a.Certificates) != 2 || !a.Certificates[1].Equal(ca.Certificates[0]) {
		t.Errorf("%d certificates, the first is %s", len(a.Certificates), a.Fingerprint())
	}
}

func TestImport(t *testing.T) {
	records := newMemory()
	records.records["etcd/main/lineage.json"] = `{"state":"running"}` // whoever imports has a cluster
	vault := testVault(records)
	mine, err := New(Kubernetes, "ECDSA-P256", year, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if created, err := vault.Import(t.Context(), mine); err != nil || created != want {
			t.Errorf("import %d: created %v, error %v", i, created, err)
		}
	}
	if a, err := vault.Private(t.Context(), Kubernetes); err != nil || a.Fingerprint() != mine.Fingerprint() {
		t.Errorf("afterwards: %v", err)
	}
	other := made(t, Kubernetes)
	before := slices.Clone(records.puts)
	_, err = vault.Import(t.Context(), other)
	wantError(t, err, mine.Fingerprint())
	wantError(t, err, other.Fingerprint())
	wantReason(t, err, status.ReasonPKIBlocked, "rekindle pki rotate STORE begin kubernetes")
	if !slices.Equal(records.puts, before) {
		t.Errorf("wrote %v", records.puts[len(before):])
	}
	unreadable := &scripted{memory: newMemory(), get: map[string]error{PrivateKey(Kubernetes): errServer}}
	if _, err := testVault(unreadable).Import(t.Context(), mine); !errors.Is(err, errServer) || len(unreadable.puts) != 0 {
		t.Errorf("a store that cannot be read: %v, wrote %v", err, unreadable.puts)
	}
	nameless := testVault(newMemory())
	nameless.Cluster = ""
	if _, err := nameless.Import(t.Context(), mine); err == nil {
		t.Error("imported for no cluster")
	}
}
