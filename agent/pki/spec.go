package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"rekindle/agent/plan"
)

// The usages of a certificate.
const (
	Client = "client"
	Server = "server"
)

// Spec is what a certificate is to say.
type Spec struct {
	CommonName    string
	Organizations []string
	Names         []string // subject alternative names: DNS names and IP addresses
	Usages        []string // Client, Server
	Life          time.Duration
}

// SpecOf is what the plan asks for.
func SpecOf(cert plan.Cert) (Spec, error) {
	life, err := time.ParseDuration(cert.Life)
	if err != nil {
		return Spec{}, fmt.Errorf("certificate %s: life: %w", cert.Path, err)
	}
	spec := Spec{cert.CommonName, cert.Organizations, cert.Names, cert.Usages, life}
	if err := spec.Check(); err != nil {
		return Spec{}, fmt.Errorf("certificate %s: %w", cert.Path, err)
	}
	return spec, nil
}

// Check says why no certificate can be issued for the spec.
func (s Spec) Check() error {
	if len(s.Usages) == 0 {
		return errors.New("no usages: client, server or both")
	}
	for _, usage := range s.Usages {
		if _, ok := extUsages[usage]; !ok {
			return fmt.Errorf("usage %q: use client or server", usage)
		}
	}
	if slices.Contains(s.Usages, Server) && len(s.Names) == 0 {
		return errors.New("a server's certificate without names: nobody looks at the common name any more")
	}
	if slices.Contains(s.Usages, Client) && s.CommonName == "" {
		return errors.New("a client's certificate without a common name: it would be nobody's")
	}
	for _, name := range s.Names {
		if !isAddress(name) && !isDNSName(name) {
			return fmt.Errorf("name %q: neither a DNS name nor an IP address", name)
		}
	}
	if s.Life <= 0 {
		return fmt.Errorf("life %s: it must be positive", s.Life)
	}
	return nil
}

func isAddress(name string) bool {
	address, err := netip.ParseAddr(name)
	return err == nil && address.Zone() == ""
}

func isDNSName(name string) bool {
	name = strings.ToLower(name)
	return len(validation.IsDNS1123Subdomain(name)) == 0 || len(validation.IsWildcardDNS1123Subdomain(name)) == 0
}

var extUsages = map[string]x509.ExtKeyUsage{
	Client: x509.ExtKeyUsageClientAuth,
	Server: x509.ExtKeyUsageServerAuth,
}

func (s Spec) extKeyUsage() []x509.ExtKeyUsage {
	var usages []x509.ExtKeyUsage
	for _, usage := range s.Usages {
		usages = append(usages, extUsages[usage])
	}
	slices.Sort(usages)
	return slices.Compact(usages)
}

func (s Spec) subject() pkix.Name {
	return pkix.Name{CommonName: s.CommonName, Organization: s.Organizations}
}

// names are the DNS names and the addresses apart, each once, in order.
func (s Spec) names() (dns []string, ips []net.IP) {
	for _, name := range canonical(s.Names) {
		if address, err := netip.ParseAddr(name); err == nil {
			ips = append(ips, address.AsSlice())
		} else {
			dns = append(dns, name)
		}
	}
	return dns, ips
}

// canonical sorts names and writes each in one way.
func canonical(names []string) []string {
	result := make([]string, 0, len(names))
	for _, name := range names {
		if address, err := netip.ParseAddr(name); err == nil {
			name = address.Unmap().String()
		}
		result = append(result, strings.ToLower(name))
	}
	return set(result)
}

// set sorts texts, each once.
func set(texts []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(texts)))
}

// differs says in which respect a subject and names are not the spec's; empty when they are.
func (s Spec) differs(subject pkix.Name, dns []string, ips []net.IP) string {
	switch {
	case subject.CommonName != s.CommonName:
		return "common name"
	case !slices.Equal(set(subject.Organization), set(s.Organizations)):
		return "organizations"
	case len(subject.Names) != len(subject.Organization)+min(1, len(subject.CommonName)):
		return "subject" // it has attributes that no spec can ask for
	case !slices.Equal(allNames(dns, ips), canonical(s.Names)):
		return "names"
	}
	return ""
}

func allNames(dns []string, ips []net.IP) []string {
	names := slices.Clone(dns)
	for _, ip := range ips {
		names = append(names, ip.String())
	}
	return canonical(names)
}
