package pki

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"
)

// testLeaf is a good certificate of an authority, issued at a time.
func testLeaf(t testing.TB, authority *Authority, spec Spec, at time.Time) Leaf {
	t.Helper()
	key := testKey(t, "ECDSA-P256")
	cert, err := Issue(authority, spec, key.Public(), at)
	if err != nil {
		t.Fatal(err)
	}
	private, err := keyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return Leaf{Certificate: leafPEM(cert), Key: private, Spec: spec, Trusted: authority.Certificates, Seed: "i-1 /a.crt"}
}

func TestJudge(t *testing.T) {
	authority := testAuthority(t, Kubernetes, 3650*testDay, testNow.Add(-testDay))
	next := testAuthority(t, Kubernetes, 3650*testDay, testNow.Add(-testDay)) // of the same name
	ending := testAuthority(t, Kubernetes, 3*testDay, testNow)
	spec := serverSpec()
	good := testLeaf(t, authority, spec, testNow)
	end := testNow.Add(30 * testDay)
	of := func(change func(*Leaf)) Leaf {
		l := good
		change(&l)
		return l
	}
	asking := func(change func(*Spec)) Leaf { return of(func(l *Leaf) { change(&l.Spec) }) }
	brief := testLeaf(t, authority, Spec{spec.CommonName, nil, spec.Names, spec.Usages, time.Hour}, testNow)
	chain := of(func(l *Leaf) {
		l.Certificate = append(l.Certificate[:len(l.Certificate):len(l.Certificate)], authority.CertificatePEM()...)
	})
	self, err := authority.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		leaf  Leaf
		at    time.Duration // after it was issued
		state State
		why   string
	}{
		{"new", good, 0, Good, ""},
		{"with its chain", chain, 0, Good, ""},
		{"just before its time", good, 20*testDay - time.Hour, Good, ""},
		{"two thirds and a twentieth", good, 21*testDay + 13*time.Hour, Due, "8 of 30 days left"},
		{"its last minute", good, 30*testDay - time.Minute, Due, "0 of 30 days left"},
		{"expired", good, 30 * testDay, Bad, "expired on 2026-03-31 12:00 UTC"},
		{"long expired", good, 90 * testDay, Bad, "expired"},
		{"an hour's life", brief, 45 * time.Minute, Due, "15 of 65 minutes left"},
		{"longer than it should live", asking(func(s *Spec) { s.Life = 3 * testDay }), 3 * testDay, Due, "27 of 30 days left"},
		{"shorter than it should live", asking(func(s *Spec) { s.Life = 365 * testDay }), 10 * testDay, Good, ""},

		{"the clock is behind", good, -time.Hour, Due, "one clock is wrong"},
		{"the clock is far behind", good, -50 * 365 * testDay, Due, "this node's clock says 1976"},
		{"the clock is a little behind", good, -4 * time.Minute, Good, ""},

		{"neither", of(func(l *Leaf) { l.Certificate, l.Key = nil, nil }), 0, Bad, "none yet"},
		{"no certificate", of(func(l *Leaf) { l.Certificate = nil }), 0, Bad, "without its certificate"},
		{"no key", of(func(l *Leaf) { l.Key = nil }), 0, Bad, "without its key"},
		{"empty certificate", of(func(l *Leaf) { l.Certificate = []byte("\n") }), 0, Bad, "its file is empty"},
		{"empty key", of(func(l *Leaf) { l.Key = []byte{} }), 0, Bad, "file of its key is empty"},
		{"garbage", of(func(l *Leaf) { l.Certificate = []byte("garbage") }), 0, Bad, "not PEM"},
		{"half a certificate", of(func(l *Leaf) { l.Certificate = l.Certificate[:len(l.Certificate)/2] }), 0, Bad, "cut off"},
		{"half a key", of(func(l *Leaf) { l.Key = l.Key[:len(l.Key)/2] }), 0, Bad, "cut off"},
		{"zeros", of(func(l *Leaf) { l.Key = make([]byte, 200) }), 0, Bad, "private key: "},
		{"another's key", of(func(l *Leaf) { l.Key = testLeaf(t, authority, spec, testNow).Key }), 0, Bad, "the key does not fit"},
		{"the authority itself", of(func(l *Leaf) { l.Certificate, l.Key = authority.CertificatePEM(), self }), 0, Bad, "an authority's"},

		{"another common name", asking(func(s *Spec) { s.CommonName = "b" }), 0, Bad, "its common name changed"},
		{"another organization", asking(func(s *Spec) { s.Organizations = []string{"b"} }), 0, Bad, "its organizations changed"},
		{"another name", asking(func(s *Spec) { s.Names = append(s.Names[:1:1], "10.0.0.2") }), 0, Bad, "its names changed"},
		{"the names in another order", asking(func(s *Spec) {
			s.Names = []string{"0:0::1", "127.0.0.1", "API.internal.prod", "10.0.0.1", "10.0.0.1"}
		}), 0, Good, ""},
		{"another usage", asking(func(s *Spec) { s.Usages = []string{Client, Server} }), 0, Bad, "its usages changed"},
		{"any spec", asking(func(s *Spec) { *s = Spec{} }), 0, Good, ""},

		{"nothing is trusted", of(func(l *Leaf) { l.Trusted = nil }), 0, Bad, "none of the authority's certificates"},
		{"another authority of the same name", of(func(l *Leaf) { l.Trusted = next.Certificates }), 0, Bad, "none of the authority's certificates"},
		{"a rotation has begun", of(func(l *Leaf) { l.Trusted = both(authority, next) }), 0, Good, ""},
		{"a rotation is promoted", of(func(l *Leaf) { l.Trusted = both(next, authority) }), 0, Due, "signs with a new key"},
		{"expired in a rotation", of(func(l *Leaf) { l.Trusted = both(next, authority) }), end.Sub(testNow), Bad, "expired"},
		{"the authority ends with it", testLeaf(t, ending, spec, testNow), 3*testDay - time.Minute, Good, ""}, // no other lives longer
	} {
		t.Run(test.name, func(t *testing.T) {
			v := Judge(test.leaf, testNow.Add(test.at))
			if v.State != test.state || !strings.Contains(v.Why, test.why) || (v.Why == "") != (v.State == Good) {
				t.Errorf("%s: %q, want %s: %q", v.State, v.Why, test.state, test.why)
			}
			if v.State != Bad && (v.Certificate == nil || v.Renew.IsZero()) {
				t.Errorf("%+v: which certificate, and until when?", v)
			}
		})
	}
}

func both(first, second *Authority) []*x509.Certificate {
	return append(first.Certificates[:1:1], second.Certificates...)
}

// An authority that outlived its own certificate signs nothing that counts, whatever the leaf says.
func TestJudgeOldAuthority(t *testing.T) {
	old := testAuthority(t, Kubernetes, testDay, testNow.Add(-2*testDay))
	young, err := withKey(Kubernetes, old.Key, 10*testDay, testNow) // the same key and name: it signs for both
	if err != nil {
		t.Fatal(err)
	}
	leaf := testLeaf(t, young, serverSpec(), testNow)
	leaf.Trusted = old.Certificates
	if v := Judge(leaf, testNow); v.State != Bad || !strings.Contains(v.Why, "who signed it expired") {
		t.Errorf("%s: %q", v.State, v.Why)
	}
}

// 2,000 nodes that were launched in the same minute renew over a twentieth of the certificates' life: a day and a half.
func TestRenewalsAreSpread(t *testing.T) {
	leaf := testLeaf(t, testAuthority(t, Kubernetes, 3650*testDay, testNow.Add(-testDay)), clientSpec(), testNow)
	cert := leaf.certificate(t)
	hours := map[int]int{}
	for i := range 2000 {
		at := renewAt(cert, 30*testDay, fmt.Sprintf("i-%017x /var/lib/kubelet/pki/kubelet-client.crt", i))
		early := cert.NotBefore.Add(20 * testDay)
		if at.Before(early) || at.After(early.Add(36*time.Hour)) {
			t.Fatalf("renewed at %s", at)
		}
		hours[int(at.Sub(early)/time.Hour)]++
	}
	if len(hours) != 36 {
		t.Errorf("renewals in %d of 36 hours", len(hours))
	}
	for hour, n := range hours {
		if n > 2*2000/36 {
			t.Errorf("%d renewals in hour %d", n, hour)
		}
	}
	if a, b := renewAt(cert, 0, "i-1 /a"), renewAt(cert, 0, "i-1 /a"); !a.Equal(b) {
		t.Error("a node does not always renew at the same time")
	}
	if a, b := renewAt(cert, 0, "i-1 /a"), renewAt(cert, 0, "i-1 /b"); a.Equal(b) {
		t.Error("a node renews all at once")
	}
}

func (l *Leaf) certificate(t testing.TB) *x509.Certificate {
	t.Helper()
	certs, err := ParseCertificates(l.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

func TestJudgeKeepsKeysSecret(t *testing.T) {
	leaf := testLeaf(t, testAuthority(t, Kubernetes, 3650*testDay, testNow), serverSpec(), testNow)
	lines := strings.Split(string(leaf.Key), "\n")
	secret := lines[1]
	for _, broken := range []string{strings.Join(lines[1:], "\n"), strings.Join(lines[:2], "\n"), secret, lines[0] + "\n" + secret + "\n" + lines[len(lines)-2]} {
		leaf.Key = []byte(broken)
		if v := Judge(leaf, testNow); v.State != Bad || strings.Contains(v.Why, secret[:16]) {
			t.Errorf("%s: %q", v.State, v.Why)
		}
	}
}
