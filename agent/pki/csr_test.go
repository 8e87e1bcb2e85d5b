package pki

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"strings"
	"testing"
)

// A CSR that this agent makes is the one that a master grants, and no other.
func TestCSR(t *testing.T) {
	for _, spec := range []Spec{serverSpec(), clientSpec()} {
		key := testKey(t, "ECDSA-P256")
		der, err := NewCSR(spec, key)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := ParseCSR(der)
		if err != nil {
			t.Fatal(err)
		}
		if err := csr.Matches(spec); err != nil {
			t.Error(err)
		}
		if !fits(key, csr.Public) {
			t.Error("another key")
		}
		for name, change := range map[string]func(*Spec){
			"common name":   func(s *Spec) { s.CommonName = "system:node:i-2" },
			"organizations": func(s *Spec) { s.Organizations = []string{"system:masters"} },
			"names":         func(s *Spec) { s.Names = append([]string{"10.9.9.9"}, s.Names...) },
		} {
			other := spec
			change(&other)
			if err := csr.Matches(other); err == nil || !strings.Contains(err.Error(), "another "+name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestParseCSRRefuses(t *testing.T) {
	key := testKey(t, "ECDSA-P256")
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request := func(template *x509.CertificateRequest, key crypto.Signer) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	plain := request(&x509.CertificateRequest{Subject: clientSpec().subject()}, key)
	forged := bytes.Clone(plain)
	forged[bytes.Index(forged, []byte("i-1"))+2] = '2'
	constraints, err := asn1.Marshal(struct{ CA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		der  []byte
		want string
	}{
		{"empty", nil, "CSR: "},
		{"large", make([]byte, maxCSR+1), "larger"},
		{"trailing data", append(bytes.Clone(plain), 0), "trailing"},
		{"forged", forged, "signature"},
		{"small RSA key", smallRSARequest(t), "1024 bits"},
		{"Ed25519", request(&x509.CertificateRequest{Subject: clientSpec().subject()}, edwards), "ed25519"},
		{"mail address", request(&x509.CertificateRequest{EmailAddresses: []string{"a@b"}}, key), "mail"},
		{"URI", request(&x509.CertificateRequest{URIs: []*url.URL{{Scheme: "spiffe", Host: "a"}}}, key), "URI"},
		{"country", request(&x509.CertificateRequest{Subject: pkix.Name{CommonName: "a", Country: []string{"CN"}}}, key), "2.5.4.6"},
		{"to be an authority", request(&x509.CertificateRequest{ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints},
		}}, key), "2.5.29.19"},
		{"unknown critical extension", request(&x509.CertificateRequest{ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}},
		}}, key), "1.2.3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ParseCSR(test.der); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// smallRSARequest has a key that Go makes only when it is asked to.
func smallRSARequest(t *testing.T) []byte {
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: clientSpec().subject()}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func FuzzParseCSR(f *testing.F) {
	for _, spec := range []Spec{serverSpec(), clientSpec()} {
		der, err := NewCSR(spec, testKey(f, "ECDSA-P256"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	authority := testAuthority(f, Kubernetes, 365*testDay, testNow)
	f.Fuzz(func(t *testing.T, der []byte) {
		csr, err := ParseCSR(der)
		if err != nil {
			return
		}
		spec := Spec{csr.CommonName, csr.Organizations, csr.Names, []string{Client}, testDay}
		cert, err := Issue(authority, spec, csr.Public, testNow)
		if err != nil {
			return // a name that no certificate should have
		}
		if wrong := spec.wrong(cert); wrong != "" || cert.IsCA {
			t.Errorf("%+v became something else: %s", csr, wrong)
		}
	})
}
