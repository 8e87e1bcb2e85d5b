package pki

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/host"
	"rekindle/agent/plan"
)

// newNode is a machine with files on it.
func newNode(t *testing.T, files map[string][]byte) *host.Host {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return host.New(root)
}

// kubeadmPlan has the certificates that kubeadm's check-expiration asks for.
func kubeadmPlan() *plan.Plan {
	const pki = "/etc/kubernetes/pki/"
	p := &plan.Plan{Authorities: []plan.Authority{
		{Name: Kubernetes, Path: pki + "ca.crt", Key: pki + "ca.key", Signer: pki + "ca-signer.crt"},
		{Name: Etcd, Path: pki + "etcd/ca.crt", Key: pki + "etcd/ca.key"},
		{Name: FrontProxy, Path: pki + "front-proxy-ca.crt", Key: pki + "front-proxy-ca.key"},
		{Name: ServiceAccount, Path: pki + "sa.pub", Key: pki + "sa.key"},
	}}
	p.Certs = append(p.Certs, plan.Cert{Path: joinDir + "/join.crt", Key: joinDir + "/join.key", Authority: Kubernetes,
		CommonName: "join", Usages: []string{Client}, Life: testLife})
	for file, authority := range map[string]string{
		"apiserver": Kubernetes, "apiserver-kubelet-client": Kubernetes, "apiserver-etcd-client": Etcd, "etcd/server": Etcd,
		"etcd/peer": Etcd, "etcd/healthcheck-client": Etcd, "front-proxy-client": FrontProxy,
	} {
		p.Certs = append(p.Certs, plan.Cert{Path: pki + file + ".crt", Key: pki + file + ".key", Authority: authority,
			CommonName: file, Usages: []string{Client}, Life: testLife})
	}
	for _, file := range []string{"admin.conf", "controller-manager.conf", "scheduler.conf", "super-admin.conf"} {
		p.Certs = append(p.Certs, plan.Cert{Path: "/etc/kubernetes/" + file, Authority: Kubernetes, CommonName: file,
			Usages: []string{Client}, Life: testLife, Kubeconfig: "https://127.0.0.1:6443"})
	}
	return p
}

// What a Holder wrote is all good, under the names that kubeadm uses.
func TestSurvey(t *testing.T) {
	disk := testDisk{}
	h := &Holder{Source: newSource(t), Read: disk.read}
	hold(t, h, disk, kubeadmPlan())
	files := newNode(t, disk)
	found, err := Survey(files, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, one := range append(found.Certificates, found.Authorities...) {
		got[one.Name] = one.Authority + " " + one.state()
	}
	if diff := cmp.Diff(map[string]string{
		"join": "ca good", "apiserver": "ca good", "apiserver-kubelet-client": "ca good", "apiserver-etcd-client": "etcd-ca good", "etcd-server": "etcd-ca good",
		"etcd-peer": "etcd-ca good", "etcd-healthcheck-client": "etcd-ca good", "front-proxy-client": "front-proxy-ca good",
		"admin.conf": "ca good", "controller-manager.conf": "ca good", "scheduler.conf": "ca good", "super-admin.conf": "ca good",
		"ca": " good", "etcd-ca": " good", "front-proxy-ca": " good",
	}, got); diff != "" || found.State() != Good {
		t.Errorf("%s (-want +got):\n%s", found.State(), diff)
	}
	for after, want := range map[time.Duration]State{20 * testDay: Good, 22 * testDay: Due, 31 * testDay: Bad} {
		found, err := Survey(files, time.Now().Add(after))
		if err != nil || found.State() != want {
			t.Errorf("after %s: %s, %v", after, found.State(), err)
		}
	}
	var text bytes.Buffer
	if err := found.Text(&text, time.Now()); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	if all := text.String() + string(data); strings.Contains(all, "PRIVATE") || !strings.Contains(all, "29d") {
		t.Error(all)
	}
}

// In a rotation both certificates are listed; what the old one signed is overdue.
func TestSurveyRotation(t *testing.T) {
	disk, source := testDisk{}, newSource(t)
	h := &Holder{Source: source, Read: disk.read}
	hold(t, h, disk, kubeadmPlan())
	old := source.authorities[Kubernetes]
	next := testAuthority(t, Kubernetes, 60*testDay, time.Now())
	disk["/etc/kubernetes/pki/ca.crt"] = append(next.CertificatePEM(), old.CertificatePEM()...)
	found, err := Survey(newNode(t, disk), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, one := range found.Authorities {
		lines = append(lines, one.Name+": "+one.state())
	}
	if diff := cmp.Diff([]string{"ca: bad: its key does not fit it", "ca, trusted 2: good", "etcd-ca: good", "front-proxy-ca: good"}, lines); diff != "" {
		t.Errorf("authorities (-want +got):\n%s", diff)
	}
	for _, one := range found.Certificates {
		if one.Name == "apiserver" && one.state() != "due: the authority signs with a new key" {
			t.Error(one.state())
		}
	}
	for after, want := range map[time.Duration]State{0: Good, 41 * testDay: Due, 60 * testDay: Bad} {
		if got := authorityOf("/etc/kubernetes/pki/ca.crt", next.Certificates[0], time.Now().Add(after)); got.State != want {
			t.Errorf("an authority of 60 days, after %s: %s", after, got.State)
		}
	}
}
