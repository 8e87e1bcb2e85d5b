package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"rekindle/agent/status"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const year = 365 * 24 * time.Hour

func made(t testing.TB, name string) *Authority {
	t.Helper()
	a, err := New(name, "ECDSA-P256", 10*year, start)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func keyText(t testing.TB, a *Authority) []byte {
	t.Helper()
	data, err := a.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestNewIsAsKubeadmMakesIt(t *testing.T) {
	for name, commonName := range map[string]string{Kubernetes: "kubernetes", Etcd: "etcd-ca", FrontProxy: "front-proxy-ca"} {
		a := made(t, name)
		c := a.Certificates[0]
		if c.Subject.String() != "CN="+commonName || !c.IsCA || !c.BasicConstraintsValid || len(c.SubjectKeyId) == 0 {
			t.Errorf("%s: subject %s, CA %v, key id %x", name, c.Subject, c.IsCA, c.SubjectKeyId)
		}
		if c.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment|x509.KeyUsageCertSign {
			t.Errorf("%s: key usage %b", name, c.KeyUsage)
		}
		if c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() < 64 || c.SerialNumber.BitLen() > 128 {
			t.Errorf("%s: serial number %v", name, c.SerialNumber)
		}
		if !c.NotBefore.Equal(start.Add(-5*time.Minute)) || !c.NotAfter.Equal(start.Add(10*year)) {
			t.Errorf("%s: counts from %s to %s", name, c.NotBefore, c.NotAfter)
		}
		if err := c.CheckSignatureFrom(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a := made(t, ServiceAccount); len(a.Certificates) != 0 || len(a.Keys) != 1 || !fits(a.Key, a.Keys[0]) {
		t.Errorf("service-account: %d certificates, %d keys", len(a.Certificates), len(a.Keys))
	}
}

// What is written is read by whoever needs it: tls.X509KeyPair is etcd's and the API server's way, and by this package.
func TestAlgorithms(t *testing.T) {
	for algorithm, block := range map[string]string{
		"ECDSA-P256": "EC PRIVATE KEY", "ECDSA-P384": "EC PRIVATE KEY", "RSA-2048": "RSA PRIVATE KEY", "RSA-3072": "RSA PRIVATE KEY",
		"RSA-4096": "RSA PRIVATE KEY",
	} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			a, err := New(Etcd, algorithm, year, start)
			if err != nil {
				t.Fatal(err)
			}
			key := keyText(t, a)
			if first, _ := pem.Decode(key); first.Type != block {
				t.Errorf("written as %s, want %s", first.Type, block)
			}
			if _, err := tls.X509KeyPair(a.CertificatePEM(), key); err != nil {
				t.Error(err)
			}
			again, err := assemble(Etcd, a.CertificatePEM(), key)
			if err != nil || again.Fingerprint() != a.Fingerprint() || !fits(again.Key, a.Key.Public()) {
				t.Errorf("read again: %v", err)
			}
		})
	}
	if _, err := New(Etcd, "RSA-1024", year, start); err == nil || !strings.Contains(err.Error(), "ECDSA-P256, ECDSA-P384") {
		t.Errorf("RSA-1024: %v", err)
	}
	if _, err := New("kubelet", "ECDSA-P256", year, start); err == nil {
		t.Error("made an authority that does not exist")
	}
}

func TestCheck(t *testing.T) {
	good, other := made(t, Kubernetes), made(t, Kubernetes)
	leaf := *good.Certificates[0]
	leaf.IsCA = false
	noSign := *good.Certificates[0]
	noSign.KeyUsage = x509.KeyUsageDigitalSignature
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // it must be refused
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sa := func(key crypto.Signer) *Authority {
		return &Authority{Name: ServiceAccount, Keys: []crypto.PublicKey{key.Public()}, Key: key}
	}
	with := func(c *x509.Certificate, key crypto.Signer) *Authority {
		return &Authority{Name: Kubernetes, Certificates: []*x509.Certificate{c}, Key: key}
	}
	for name, test := range map[string]struct {
		a    *Authority
		now  time.Time
		want string // "" is good
	}{
		"good":             {good, start, ""},
		"a lagging clock":  {good, start.Add(-4 * time.Minute), ""},
		"not yet":          {good, start.Add(-time.Hour), "counts from 2026-03-01T11:55:00Z, and now it is 2026-03-01T11:00:00Z"},
		"expired":          {good, start.Add(10*year + time.Second), "expired at"},
		"another key":      {with(good.Certificates[0], other.Key), start, "the private key does not fit"},
		"no key":           {with(good.Certificates[0], nil), start, ""},
		"no certificate":   {&Authority{Name: Kubernetes}, start, "it has no certificate"},
		"a leaf":           {with(&leaf, good.Key), start, "not a CA's"},
		"cannot sign":      {with(&noSign, good.Key), start, "keyCertSign is missing"},
		"no public key":    {&Authority{Name: ServiceAccount}, start, "it has no public key"},
		"a small key":      {sa(small), start, "1024 bits: at least 2048"},
		"an unusual curve": {sa(curve), start, "P-224"},
		"Ed25519":          {sa(edwards), start, "use ECDSA or RSA"},
		"another pair": {&Authority{Name: ServiceAccount, Keys: []crypto.PublicKey{good.Key.Public()}, Key: other.Key}, start,
			"does not fit the first public key"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, test.a.Check(test.now), test.want) })
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want one with %q", err, want)
	}
}

func TestParseKey(t *testing.T) {
	a := made(t, Kubernetes)
	sec1 := keyText(t, a)
	der, err := x509.MarshalPKCS8PrivateKey(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8}})
	older := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("x"),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}})
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"SEC 1":                 {sec1, ""},
		"PKCS #8":               {pkcs8, ""},
		"parameters before it":  {append(parameters, sec1...), ""},
		"empty":                 {nil, "none in it"},
		"cut off":               {sec1[:len(sec1)/2], "not PEM, or cut off"},
		"garbage after it":      {append(bytes.Clone(sec1), "garbage"...), "not PEM, or cut off"},
		"a damaged second":      {append(bytes.Clone(sec1), "-----BEGIN X-----\n!\n-----END X-----\n"...), "not PEM, or cut off"},
		"a damaged first":       {append([]byte("-----BEGIN X-----\n!\n-----END X-----\n"), sec1...), "not PEM, or cut off"},
		"two":                   {append(bytes.Clone(sec1), pkcs8...), "more than one key"},
		"a certificate":         {a.CertificatePEM(), "a CERTIFICATE where a private key belongs"},
		"with a password":       {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), "openssl pkey -in KEY -out PLAIN"},
		"with a password, 1990": {older, "it is encrypted with a password"},
		"another kind inside":   {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}), "it cannot be parsed"},
		"too large":             {bytes.Repeat([]byte("\n"), maxPEM+1), "more than 262144 are not read"},
		"too many":              {bytes.Repeat(parameters, maxCertificates+1), "17 blocks"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKey(test.data)
			wantError(t, err, test.want)
		})
	}
	_, err = ParseKey(older)
	if reason, _ := status.ReasonOf(err); reason != status.ReasonPKIBlocked {
		t.Errorf("reason %s", reason)
	}
}

func TestParseCertificates(t *testing.T) {
	a := made(t, Kubernetes)
	text := append([]byte("subject=CN = kubernetes\n"), a.CertificatePEM()...)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"text before it": {text, ""},
		"two":            {append(bytes.Clone(text), text...), ""},
		"none":           {[]byte(" \n"), "none in it"},
		"a key":          {keyText(t, a), "a EC PRIVATE KEY where only certificates belong"},
		"cut off":        {text[:len(text)-30], "not PEM, or cut off"},
		"not DER":        {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "x509"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseCertificates(test.data)
			wantError(t, err, test.want)
		})
	}
	_, err := ParsePublicKeys(a.CertificatePEM())
	wantError(t, err, "a CERTIFICATE where only public keys belong")
	_, err = ParsePublicKeys(nil)
	wantError(t, err, "none in it")
}

func FuzzParsePEM(f *testing.F) {
	for _, name := range []string{Kubernetes, ServiceAccount} {
		a := made(f, name)
		f.Add(a.CertificatePEM())
		f.Add(keyText(f, a))
	}
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if all, err := ParseCertificates(data); err == nil {
			again, err := ParseCertificates((&Authority{Certificates: all}).CertificatePEM())
			if err != nil || len(again) != len(all) {
				t.Errorf("certificates change when they are written: %v", err)
			}
		}
		if all, err := ParsePublicKeys(data); err == nil {
			again, err := ParsePublicKeys((&Authority{Keys: all}).CertificatePEM())
			if err != nil || len(again) != len(all) {
				t.Errorf("public keys change when they are written: %v", err)
			}
		}
		if key, err := ParseKey(data); err == nil {
			text, err := keyPEM(key)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := ParseKey(text); err != nil || !fits(again, key.Public()) {
				t.Errorf("a key changes when it is written: %v", err)
			}
		} else if len(data) > 40 && strings.Contains(err.Error(), string(data[30:])) {
			t.Error("the error quotes what was read")
		}
	})
}
