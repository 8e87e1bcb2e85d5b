package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

const testDay = 24 * time.Hour

// testNow is a time of no account.
var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testAuthority(t testing.TB, name string, life time.Duration, now time.Time) *Authority {
	t.Helper()
	a, err := New(name, "ECDSA-P256", life, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func testKey(t testing.TB, algorithm string) crypto.Signer {
	t.Helper()
	key, err := NewKey(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serverSpec() Spec {
	return Spec{
		CommonName: "kube-apiserver", Names: []string{"10.0.0.1", "api.internal.prod", "127.0.0.1", "::1"},
		Usages: []string{Server}, Life: 30 * testDay,
	}
}

func clientSpec() Spec {
	return Spec{CommonName: "system:node:i-1", Organizations: []string{"system:nodes"}, Usages: []string{Client}, Life: 30 * testDay}
}

func TestIssue(t *testing.T) {
	authority := testAuthority(t, Kubernetes, 3650*testDay, testNow.Add(-testDay))
	both := clientSpec()
	both.Usages, both.Names = []string{Server, Client}, []string{"Node.Internal", "10.0.0.1", "node.internal", "::ffff:10.0.0.1"}
	for _, test := range []struct {
		name      string
		spec      Spec
		algorithm string
		usage     x509.KeyUsage
		verify    x509.VerifyOptions
	}{
		{"server", serverSpec(), "ECDSA-P256", x509.KeyUsageDigitalSignature,
			x509.VerifyOptions{DNSName: "api.internal.prod", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
		{"server by address", serverSpec(), "ECDSA-P384", x509.KeyUsageDigitalSignature,
			x509.VerifyOptions{DNSName: "::1", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
		{"client", clientSpec(), "RSA-2048", x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
			x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}},
		{"both", both, "ECDSA-P256", x509.KeyUsageDigitalSignature,
			x509.VerifyOptions{DNSName: "node.internal", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cert, err := Issue(authority, test.spec, testKey(t, test.algorithm).Public(), testNow)
			if err != nil {
				t.Fatal(err)
			}
			test.verify.Roots, test.verify.CurrentTime = x509.NewCertPool(), testNow
			test.verify.Roots.AddCert(authority.Certificates[0])
			if _, err := cert.Verify(test.verify); err != nil {
				t.Error(err)
			}
			if wrong := test.spec.wrong(cert); wrong != "" {
				t.Error("it is not what was asked for:", wrong)
			}
			if cert.KeyUsage != test.usage || cert.IsCA || !cert.BasicConstraintsValid {
				t.Errorf("key usage %b, CA %v", cert.KeyUsage, cert.IsCA)
			}
			if len(cert.SubjectKeyId) != 20 || !bytes.Equal(cert.AuthorityKeyId, authority.Certificates[0].SubjectKeyId) {
				t.Errorf("key ids %x, %x", cert.SubjectKeyId, cert.AuthorityKeyId)
			}
			if !cert.NotBefore.Equal(testNow.Add(-5*time.Minute)) || !cert.NotAfter.Equal(testNow.Add(30*testDay)) {
				t.Errorf("it counts from %s to %s", cert.NotBefore, cert.NotAfter)
			}
			if cert.SerialNumber.Sign() <= 0 || cert.SerialNumber.BitLen() < 64 {
				t.Errorf("serial number %d", cert.SerialNumber)
			}
		})
	}
}

func TestIssueStaysWithinTheAuthority(t *testing.T) {
	authority := testAuthority(t, Kubernetes, 20*testDay, testNow)
	ca := authority.Certificates[0]
	key := testKey(t, "ECDSA-P256").Public()
	for _, test := range []struct {
		name        string
		now         time.Time
		first, last time.Time
	}{
		{"young", ca.NotBefore.Add(time.Minute), ca.NotBefore, ca.NotAfter},
		{"clock a little behind", ca.NotBefore.Add(-time.Minute), ca.NotBefore, ca.NotAfter},
		{"old", ca.NotAfter.Add(-time.Hour), ca.NotAfter.Add(-time.Hour - 5*time.Minute), ca.NotAfter},
	} {
		t.Run(test.name, func(t *testing.T) {
			cert, err := Issue(authority, serverSpec(), key, test.now)
			if err != nil {
				t.Fatal(err)
			}
			if !cert.NotBefore.Equal(test.first) || !cert.NotAfter.Equal(test.last) {
				t.Errorf("it counts from %s to %s, want %s to %s", cert.NotBefore, cert.NotAfter, test.first, test.last)
			}
		})
	}
	for _, test := range []struct {
		name string
		now  time.Time
		want string
	}{
		{"over", ca.NotAfter, "rekindle pki rotate STORE begin kubernetes"},
		{"not yet", ca.NotBefore.Add(-time.Hour), "this node's clock"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Issue(authority, serverSpec(), key, test.now)
			if reason, _ := status.ReasonOf(err); reason != status.ReasonPKIBlocked || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want PKIBlocked with %q", err, test.want)
			}
		})
	}
}

func TestIssueRefuses(t *testing.T) {
	authority := testAuthority(t, Kubernetes, 365*testDay, testNow)
	good := testKey(t, "ECDSA-P256").Public()
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*Spec)) Spec {
		s := serverSpec()
		f(&s)
		return s
	}
	trusting := *authority
	trusting.Key = nil
	for _, test := range []struct {
		name      string
		authority *Authority
		spec      Spec
		public    crypto.PublicKey
		want      string
	}{
		{"no usages", authority, change(func(s *Spec) { s.Usages = nil }), good, "no usages"},
		{"unknown usage", authority, change(func(s *Spec) { s.Usages = []string{"both"} }), good, `usage "both"`},
		{"server without names", authority, change(func(s *Spec) { s.Names = nil }), good, "without names"},
		{"nobody", authority, change(func(s *Spec) { s.CommonName, s.Usages = "", []string{Client} }), good, "common name"},
		{"not a name", authority, change(func(s *Spec) { s.Names = []string{"a b"} }), good, `name "a b"`},
		{"address with a zone", authority, change(func(s *Spec) { s.Names = []string{"fe80::1%eth0"} }), good, "fe80::1%eth0"},
		{"no life", authority, change(func(s *Spec) { s.Life = 0 }), good, "life"},
		{"small curve", authority, serverSpec(), &weak.PublicKey, "P-224"},
		{"Ed25519", authority, serverSpec(), edwards, "ed25519"},
		{"no key", authority, serverSpec(), nil, "nil"},
		{"only trusted here", &trusting, serverSpec(), good, "cannot sign"},
		{"service account", testAuthority(t, ServiceAccount, 0, testNow), serverSpec(), good, "cannot sign"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Issue(test.authority, test.spec, test.public, testNow); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestSpecOf(t *testing.T) {
	got, err := SpecOf(plan.Cert{Path: "/a.crt", CommonName: "a", Names: []string{"a"}, Usages: []string{Server}, Life: "720h0m0s"})
	if err != nil || got.Life != 30*testDay || got.CommonName != "a" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []plan.Cert{{Path: "/a.crt", Life: "a month"}, {Path: "/a.crt", Life: "1h"}} {
		if _, err := SpecOf(bad); err == nil || !strings.HasPrefix(err.Error(), "certificate /a.crt: ") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
