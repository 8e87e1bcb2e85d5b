package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
)

// maxCSR bounds a CSR, in bytes; one with an RSA key of 8192 bits and a hundred names has about 6 KiB.
const maxCSR = 16 << 10

// maxRSA bounds a foreign key, in bits: to verify with a huge one takes long.
const maxRSA = 8192

// subjectAltName is the only extension that a CSR may ask for: usages and constraints are the signer's business.
var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// CSR is a request that was checked: it is signed by the key that it is for, the key is strong enough, and it asks for
// nothing but a subject and names.
type CSR struct {
	CommonName    string
	Organizations []string
	Names         []string // DNS names and IP addresses, sorted
	Public        crypto.PublicKey

	subject pkix.Name
	dns     []string
	ips     []net.IP
}

// NewCSR asks for a certificate for a key: PKCS #10, DER.
func NewCSR(spec Spec, key crypto.Signer) ([]byte, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{Subject: spec.subject()}
	template.DNSNames, template.IPAddresses = spec.names()
	return x509.CreateCertificateRequest(rand.Reader, template, key)
}

// ParseCSR reads and checks a request that somebody else made.
func ParseCSR(der []byte) (*CSR, error) {
	if len(der) > maxCSR {
		return nil, fmt.Errorf("CSR: larger than %d bytes", maxCSR)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("CSR: %w", err)
	}
	if err := usable(request.PublicKey); err != nil {
		return nil, fmt.Errorf("CSR: %w", err)
	}
	if key, ok := request.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
		return nil, fmt.Errorf("CSR: an RSA key of %d bits: at most %d", key.N.BitLen(), maxRSA)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("CSR: signature: %w", err)
	}
	seen := false
	for _, extension := range request.Extensions {
		if !extension.Id.Equal(subjectAltName) || seen {
			return nil, fmt.Errorf("CSR: it asks for extension %s: only names can be asked for, once", extension.Id)
		}
		seen = true
	}
	if len(request.EmailAddresses) > 0 || len(request.URIs) > 0 {
		return nil, errors.New("CSR: it asks for mail addresses or URIs")
	}
	for _, attribute := range request.Subject.Names {
		if !attribute.Type.Equal(oidCommonName) && !attribute.Type.Equal(oidOrganization) {
			return nil, fmt.Errorf("CSR: subject: attribute %s: only common name and organizations can be asked for", attribute.Type)
		}
	}
	csr := &CSR{
		CommonName: request.Subject.CommonName, Organizations: request.Subject.Organization,
		Names: allNames(request.DNSNames, request.IPAddresses), Public: request.PublicKey,
		subject: request.Subject, dns: request.DNSNames, ips: request.IPAddresses,
	}
	return csr, nil
}

var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidOrganization = asn1.ObjectIdentifier{2, 5, 4, 10}
)

// Matches says what a request asks for that the spec does not grant, or the other way round.
func (c *CSR) Matches(spec Spec) error {
	if what := spec.differs(c.subject, c.dns, c.ips); what != "" {
		return fmt.Errorf("CSR: it asks for another %s: common name %q, organizations %q, names %q; it may have %q, %q, %q",
			what, c.CommonName, c.Organizations, c.Names, spec.CommonName, spec.Organizations, canonical(spec.Names))
	}
	return nil
}
