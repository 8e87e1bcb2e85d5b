package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"

	"rekindle/agent/status"
)

// skew is how far a node's clock may be behind that of the signer.
const skew = 5 * time.Minute

// Issue has the authority sign a certificate for a public key. It is valid from a few minutes ago, for spec.Life, but
// never outlives the authority.
func Issue(authority *Authority, spec Spec, public crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if err := usable(public); err != nil {
		return nil, err
	}
	if authority.Key == nil || len(authority.Certificates) == 0 {
		return nil, fmt.Errorf("authority %s: it cannot sign certificates here", authority.Name)
	}
	ca := authority.Certificates[0]
	if err := signsNow(authority.Name, ca, now); err != nil {
		return nil, err
	}
	id, err := keyID(public)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{ // without a SerialNumber CreateCertificate makes a random one, as RFC 5280 wants it
		Subject:               spec.subject(),
		NotBefore:             now.Add(-skew).UTC().Truncate(time.Second),
		NotAfter:              now.Add(spec.Life).UTC().Truncate(time.Second),
		KeyUsage:              keyUsage(public),
		ExtKeyUsage:           spec.extKeyUsage(),
		BasicConstraintsValid: true,
		SubjectKeyId:          id,
		AuthorityKeyId:        ca.SubjectKeyId,
	}
	template.DNSNames, template.IPAddresses = spec.names()
	if template.NotBefore.Before(ca.NotBefore) {
		template.NotBefore = ca.NotBefore
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, public, authority.Key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", authority.Name, err)
	}
	return x509.ParseCertificate(der)
}

// signsNow says why the authority's certificate is of no use at this time.
func signsNow(name string, ca *x509.Certificate, now time.Time) error {
	var err error
	switch {
	case now.Before(ca.NotBefore.Add(-skew)):
		return status.Fail(status.ReasonPKIBlocked, "set this node's clock: chronyc tracking",
			fmt.Errorf("authority %s: valid only from %s, and this node's clock says %s", name, day(ca.NotBefore), day(now)))
	case !now.Before(ca.NotAfter):
		err = fmt.Errorf("authority %s: it expired on %s", name, day(ca.NotAfter))
	}
	return status.Fail(status.ReasonPKIBlocked, "replace it: rekindle pki rotate STORE begin "+name+", then promote --force", err)
}

// day is a time as messages show it.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// keyUsage is what TLS needs of a key: RSA keys also encrypt, in the key exchange of TLS 1.2 (RFC 5246, 7.4.2).
func keyUsage(public crypto.PublicKey) x509.KeyUsage {
	if _, ok := public.(*rsa.PublicKey); ok {
		return x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	}
	return x509.KeyUsageDigitalSignature
}

// keyID names a public key in certificates (RFC 7093, method 1).
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}
