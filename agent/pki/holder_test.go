package pki

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

func TestHoldMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, p := testDisk{}, masterPlan()
		var authorities []status.Authority
		var certificates []status.Certificate
		h := &Holder{Source: newSource(t), Read: disk.read, Instance: "i-1",
			Seen: func(a []status.Authority, c []status.Certificate) { authorities, certificates = a, c }}
		held, warnings, err := h.Hold(t.Context(), p, false)
		if err != nil || len(warnings) > 0 {
			t.Fatal(warnings, err)
		}
		modes := map[string]plan.Mode{}
		for _, file := range held {
			modes[file.Path] = file.Mode
			if file.Why != "none yet" {
				t.Errorf("%s is new: %q", file.Path, file.Why)
			}
		}
		if diff := cmp.Diff(map[string]plan.Mode{
			"/etc/kubernetes/pki/ca.crt": 0o644, "/etc/kubernetes/pki/ca.key": 0o600, "/etc/kubernetes/pki/signer.crt": 0o644,
			"/etc/kubernetes/pki/sa.pub": 0o644, "/etc/kubernetes/pki/sa.key": 0o600,
			"/etc/kubernetes/pki/apiserver.crt": 0o644, "/etc/kubernetes/pki/apiserver.key": 0o600,
			"/etc/kubernetes/admin.conf": 0o600, "/var/lib/kubelet/pki/kubelet-client.pem": 0o600,
		}, modes); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		disk.write(held)
		if len(authorities) != 2 || len(certificates) != 3 || certificates[0].By != status.BySelf || certificates[0].RenewAfter.IsZero() {
			t.Errorf("seen: %+v, %+v", authorities, certificates)
		}
		for i, wait := range []time.Duration{time.Minute, 19 * testDay} { // nothing changes for two thirds of its life
			time.Sleep(wait)
			if fresh, warnings := hold(t, h, disk, p); len(fresh)+len(warnings) > 0 {
				t.Errorf("hold %d: new: %v, warnings: %v", i, fresh, warnings)
			}
		}
		time.Sleep(3 * testDay)
		fresh, _ := hold(t, h, disk, p)
		if diff := cmp.Diff([]string{"/etc/kubernetes/admin.conf", "/etc/kubernetes/pki/apiserver.crt", "/etc/kubernetes/pki/apiserver.key",
			"/var/lib/kubelet/pki/kubelet-client.pem"}, slices.Sorted(maps.Keys(fresh))); diff != "" {
			t.Errorf("renewed (-want +got):\n%s", diff)
		}
		for path, why := range fresh {
			if why != "7 of 30 days left" {
				t.Errorf("%s is new: %q", path, why)
			}
		}
		time.Sleep(60 * testDay) // it was off
		if fresh, _ := hold(t, h, disk, p); len(fresh) != 4 {
			t.Errorf("after two months only %v are new", fresh)
		}
	})
}

// Every way in which a file can be wrong heals, and touches nothing else.
func TestHoldRepairs(t *testing.T) {
	disk, p := testDisk{}, masterPlan()
	h := &Holder{Source: newSource(t), Read: disk.read, Instance: "i-1"}
	hold(t, h, disk, p)
	const pki = "/etc/kubernetes/pki/"
	for _, test := range []struct {
		name   string
		change func()
		fresh  map[string]string
	}{
		{"nothing", func() {}, map[string]string{}},
		{"empty key", func() { disk[pki+"apiserver.key"] = nil }, map[string]string{
			pki + "apiserver.crt": "the file of its key is empty", pki + "apiserver.key": "the file of its key is empty"}},
		{"certificate is gone", func() { delete(disk, pki+"apiserver.crt") }, map[string]string{
			pki + "apiserver.crt": "the key is there without its certificate", pki + "apiserver.key": "the key is there without its certificate"}},
		{"half a file", func() {
			pem := disk["/var/lib/kubelet/pki/kubelet-client.pem"]
			disk["/var/lib/kubelet/pki/kubelet-client.pem"] = pem[:len(pem)-100]
		}, map[string]string{"/var/lib/kubelet/pki/kubelet-client.pem": "it is not PEM, or cut off"}},
		{"kubeconfig is empty", func() { disk["/etc/kubernetes/admin.conf"] = []byte{} },
			map[string]string{"/etc/kubernetes/admin.conf": "kubeconfig: its file is empty"}},
		{"kubeconfig without certificate", func() {
			disk["/etc/kubernetes/admin.conf"] = []byte("current-context: a\ncontexts: [{name: a, context: {user: a}}]\nusers: [{name: a}]")
		}, map[string]string{"/etc/kubernetes/admin.conf": "kubeconfig: it embeds no certificate, or no key"}},
		{"kubeconfig was edited", func() { disk["/etc/kubernetes/admin.conf"] = append(disk["/etc/kubernetes/admin.conf"], "# mine\n"...) },
			map[string]string{"/etc/kubernetes/admin.conf": "its server, or what it trusts, changed"}},
		{"authority is damaged", func() { disk[pki+"ca.crt"] = disk[pki+"ca.crt"][:100] }, map[string]string{pki + "ca.crt": "its file is damaged"}},
		{"authority's key is empty", func() { disk[pki+"ca.key"] = []byte{} }, map[string]string{pki + "ca.key": "its file is empty"}},
		{"signer was edited", func() { disk[pki+"signer.crt"] = []byte("x") }, map[string]string{pki + "signer.crt": "the cluster's differs"}},
		{"service account's key is gone", func() { delete(disk, pki+"sa.key") }, map[string]string{pki + "sa.key": "none yet"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.change()
			fresh, warnings := hold(t, h, disk, p)
			if diff := cmp.Diff(test.fresh, fresh); diff != "" || len(warnings) > 0 {
				t.Errorf("%v; new (-want +got):\n%s", warnings, diff)
			}
			if again, _ := hold(t, h, disk, p); len(again) > 0 {
				t.Errorf("again: %v", again)
			}
		})
	}
}

// A kubeconfig for another server needs no new certificate.
func TestHoldKubeconfigServer(t *testing.T) {
	disk, p := testDisk{}, masterPlan()
	h := &Holder{Source: newSource(t), Read: disk.read}
	hold(t, h, disk, p)
	cert, key, err := ParseKubeconfig(disk["/etc/kubernetes/admin.conf"])
	if err != nil {
		t.Fatal(err)
	}
	p.Certs[1].Kubeconfig = "https://elsewhere:6443"
	if fresh, _ := hold(t, h, disk, p); len(fresh) != 1 {
		t.Errorf("new: %v", fresh)
	}
	cert2, key2, err := ParseKubeconfig(disk["/etc/kubernetes/admin.conf"])
	if err != nil || string(cert) != string(cert2) || string(key) != string(key2) {
		t.Error("it has another certificate", err)
	}
	if !strings.Contains(string(disk["/etc/kubernetes/admin.conf"]), "https://elsewhere:6443") {
		t.Error("it has the old server")
	}
}

func TestHoldMinion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, p, source := testDisk{}, minionPlan(), newSource(t)
		master := newMaster(t, source, p)
		h := &Holder{Source: source, Join: master, Read: disk.read, Instance: "i-2", Limit: 10 * time.Minute}

		fresh, warnings := hold(t, h, disk, p)
		if len(fresh) != 4 || len(warnings) > 0 || master.calls != 1 || !slices.Equal(master.asked, []string{"kubelet-client", "kubelet-serving"}) {
			t.Errorf("new: %v, warnings %v, %d calls, %v", fresh, warnings, master.calls, master.asked)
		}
		if source.privates > 0 {
			t.Error("it asked for the authority's key")
		}
		if fresh, _ := hold(t, h, disk, p); len(fresh) > 0 || master.calls != 1 {
			t.Errorf("new: %v, %d calls", fresh, master.calls)
		}

		// A renewal that fails is a warning, and holds the node up for a minute at most.
		time.Sleep(22 * testDay)
		before := maps.Clone(disk)
		for _, broken := range []func(){
			func() { master.err = errors.New("nobody is there") },
			func() { master.err, master.never = nil, true },
			func() {
				master.never, master.alter = false, func(s *Spec) { s.Organizations = []string{"system:masters"} }
			},
		} {
			broken()
			began := time.Now()
			fresh, warnings := hold(t, h, disk, p)
			if len(fresh) > 0 || !maps.EqualFunc(before, disk, slices.Equal) || len(warnings) != 2 || !strings.Contains(warnings[0], "not renewed (8 of 30 days left)") &&
				!strings.Contains(warnings[0], "not renewed (7 of 30 days left)") {
				t.Errorf("new: %v, warnings %q", fresh, warnings)
			}
			if took := time.Since(began); took > maxWait {
				t.Errorf("it took %s", took)
			}
		}

		// What has expired is an error, with the join's reason; then it recovers.
		time.Sleep(9 * testDay)
		master.alter, master.err = nil, status.Fail(status.ReasonJoinUnreached, "look at the masters", errors.New("nobody is there"))
		_, _, err := h.Hold(t.Context(), p, false)
		if reason, _ := status.ReasonOf(err); reason != status.ReasonJoinUnreached || !strings.Contains(err.Error(), " (it expired on ") {
			t.Error(err)
		}
		master.err = nil
		if fresh, warnings := hold(t, h, disk, p); len(fresh) != 3 || len(warnings) > 0 {
			t.Errorf("new: %v, warnings %q", fresh, warnings)
		}
	})
}

// What a master signs must be what was asked for.
func TestHoldRefusesWhatAMasterSigned(t *testing.T) {
	for name, alter := range map[string]func(*Spec){
		"organization": func(s *Spec) { s.Organizations = []string{"system:masters"} },
		"names":        func(s *Spec) { s.Names = []string{"10.9.9.9"} },
		"usages":       func(s *Spec) { s.Usages, s.Names = []string{Client, Server}, []string{"a"} },
	} {
		t.Run(name, func(t *testing.T) {
			disk, p, source := testDisk{}, minionPlan(), newSource(t)
			master := newMaster(t, source, p)
			master.alter = alter
			h := &Holder{Source: source, Join: master, Read: disk.read}
			held, _, err := h.Hold(t.Context(), p, false)
			if reason, _ := status.ReasonOf(err); reason != status.ReasonJoinRefused || held != nil {
				t.Error(held, err)
			}
		})
	}
}

// A dry run asks nobody, and shows what would be issued.
func TestHoldDry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, p, source := testDisk{}, masterPlan(), newSource(t)
		h := &Holder{Source: source, Read: disk.read}
		dry := func() map[string]string {
			calls := source.privates
			held, warnings, err := h.Hold(t.Context(), p, true)
			if err != nil || len(warnings) > 0 || source.privates != calls || len(held) != 9 {
				t.Errorf("%d files, %v, %v", len(held), warnings, err)
			}
			fresh := map[string]string{}
			for _, file := range held {
				if (file.Content == nil) != (file.Why != "") || file.Content != nil && string(file.Content) != string(disk[file.Path]) {
					t.Errorf("%s: %d bytes, %q", file.Path, len(file.Content), file.Why)
				}
				if file.Why != "" {
					fresh[file.Path] = file.Why
				}
			}
			return fresh
		}
		if got := dry(); len(got) != 9 || got["/etc/kubernetes/pki/ca.crt"] != "none yet" {
			t.Errorf("an empty disk: %v", got)
		}
		hold(t, h, disk, p)
		if got := dry(); len(got) > 0 {
			t.Errorf("after it was applied: %v", got)
		}
		time.Sleep(22 * testDay)
		if got := dry(); len(got) != 4 || !strings.HasSuffix(got["/etc/kubernetes/admin.conf"], "of 30 days left") {
			t.Errorf("at its time: %v", got)
		}
	})
}

// A wrong clock makes neither a loop of renewals nor an outage.
func TestHoldWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, p, source := testDisk{}, minionPlan(), newSource(t)
		master := newMaster(t, source, p)
		master.ahead = time.Hour // or this node is behind: it cannot tell
		h := &Holder{Source: source, Join: master, Read: disk.read}
		_, warnings := hold(t, h, disk, p)
		if len(warnings) != 2 || !strings.Contains(warnings[0], "one clock is wrong") {
			t.Errorf("warnings %q", warnings)
		}
		for range 5 { // a new one would be no better
			time.Sleep(10 * time.Minute)
			fresh, warnings := hold(t, h, disk, p)
			if len(fresh) > 0 || len(warnings) != 2 || !strings.Contains(warnings[0], "no better") {
				t.Errorf("new: %v, warnings %q", fresh, warnings)
			}
		}
		time.Sleep(10 * time.Minute)
		if fresh, warnings := hold(t, h, disk, p); len(fresh)+len(warnings) > 0 {
			t.Errorf("new: %v, warnings %q", fresh, warnings)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a master whose own clock jumps back renews once
		disk, p, source := testDisk{}, masterPlan(), newSource(t)
		h := &Holder{Source: source, Read: disk.read}
		hold(t, h, disk, p)
		early := testLeaf(t, source.authorities[Kubernetes], mustSpec(t, p.Certs[0]), time.Now().Add(testDay))
		disk[p.Certs[0].Path], disk[p.Certs[0].Key] = early.Certificate, early.Key
		if fresh, _ := hold(t, h, disk, p); len(fresh) != 2 {
			t.Errorf("new: %v", fresh)
		}
		if fresh, _ := hold(t, h, disk, p); len(fresh) > 0 {
			t.Errorf("again: %v", fresh)
		}
	})
}

func mustSpec(t *testing.T, cert plan.Cert) Spec {
	t.Helper()
	spec, err := SpecOf(cert)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// No error and no warning holds a key.
func TestHoldKeepsKeysSecret(t *testing.T) {
	disk, p, source := testDisk{}, masterPlan(), newSource(t)
	h := &Holder{Source: source, Read: disk.read}
	hold(t, h, disk, p)
	for path, content := range disk {
		cut := maps.Clone(disk)
		cut[path] = content[:2*len(content)/3]
		_, key, _ := split(content)
		line := "no key in this file"
		if lines := strings.Split(string(key), "\n"); len(lines) > 1 {
			line = lines[1]
		}
		broken := &Holder{Source: &testSource{err: errors.New("503")}, Read: cut.read}
		held, warnings, err := broken.Hold(t.Context(), p, false)
		if said := fmt.Sprint(warnings, err, whys(held)); strings.Contains(said, line) {
			t.Errorf("%s: %s", path, said)
		}
	}
}

func whys(held []apply.Held) (all []string) {
	for _, file := range held {
		all = append(all, file.Why)
	}
	return all
}

func TestHoldRefusesPlans(t *testing.T) {
	source := newSource(t)
	for want, change := range map[string]func(*plan.Plan){
		"does not hold authority": func(p *plan.Plan) { p.Certs[0].Authority = Etcd },
		"life":                    func(p *plan.Plan) { p.Certs[0].Life = "soon" },
		"how to ask a master":     func(p *plan.Plan) { p.Certs[0].Join = "kubelet-client" },
		"cannot sign":             func(p *plan.Plan) { p.Authorities[0].Key = "" },
		"key algorithm":           func(*plan.Plan) {},
	} {
		disk, p := testDisk{}, masterPlan()
		change(p)
		h := &Holder{Source: source, Read: disk.read}
		if want == "key algorithm" {
			h.Algorithm = "DSA"
		}
		if held, _, err := h.Hold(t.Context(), p, false); err == nil || !strings.Contains(err.Error(), want) || held != nil {
			t.Errorf("%q: %v", want, err)
		}
	}
}
