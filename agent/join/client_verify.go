package join

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"rekindle/agent/pki"
)

// usages are what each certificate must be good for.
var usages = map[string]x509.ExtKeyUsage{
	KubeletClient:  x509.ExtKeyUsageClientAuth,
	KubeletServing: x509.ExtKeyUsageServerAuth,
	KubeProxy:      x509.ExtKeyUsageClientAuth,
}

// verify makes sure that a master's certificates are those that were asked for. What is wrong with one would otherwise
// show minutes later, in the words of a kubelet.
func (s *seeker) verify(certificates [][]byte, now time.Time) error {
	if len(certificates) != len(s.requests) {
		return fmt.Errorf("%d certificates for %d requests", len(certificates), len(s.requests))
	}
	for i, der := range certificates {
		if err := s.verifyOne(s.requests[i].Name, s.csrs[i], der, now); err != nil {
			return fmt.Errorf("%s: %w", s.requests[i].Name, err)
		}
	}
	return nil
}

func (s *seeker) verifyOne(name string, csr *pki.CSR, der []byte, now time.Time) error {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	key, ok := certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !key.Equal(csr.Public):
		return fmt.Errorf("it is for another key")
	case certificate.IsCA:
		return fmt.Errorf("it is an authority's")
	case certificate.Subject.CommonName != csr.CommonName:
		return fmt.Errorf("it is for %q, and %q was asked for", certificate.Subject.CommonName, csr.CommonName)
	case !same(certificate.Subject.Organization, csr.Organizations):
		return fmt.Errorf("its organizations are %q, and %q were asked for", certificate.Subject.Organization, csr.Organizations)
	case !same(namesIn(certificate.DNSNames, certificate.IPAddresses), csr.Names):
		return fmt.Errorf("its names are %q, and %q were asked for", namesIn(certificate.DNSNames, certificate.IPAddresses), csr.Names)
	}
	usage, known := usages[name]
	if !known {
		usage = x509.ExtKeyUsageAny
	}
	_, err = certificate.Verify(x509.VerifyOptions{
		Roots: s.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return untimely(err, now)
}

func namesIn(dns []string, ips []net.IP) []string {
	all := slices.Clone(dns)
	for _, ip := range ips {
		all = append(all, ip.String())
	}
	for i := range all {
		all[i] = strings.ToLower(all[i])
	}
	return all
}

// same compares without regard to order and repetition.
func same(a, b []string) bool {
	set := func(texts []string) []string { return slices.Compact(slices.Sorted(slices.Values(texts))) }
	return slices.Equal(set(a), set(b))
}
