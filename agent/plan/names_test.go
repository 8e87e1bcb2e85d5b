package plan_test

import (
	"crypto/x509"
	"net"
	"os"
	"slices"
	"testing"

	"rekindle/agent/join"
	"rekindle/agent/pki"
	"rekindle/agent/plan"
	"rekindle/roles"
)

// TestKnownNames: what a role.yaml can name is what packages pki and join know.
func TestKnownNames(t *testing.T) {
	if !slices.Equal(roles.Authorities, pki.Names) || roles.KeyPair != pki.ServiceAccount {
		t.Errorf("authorities %q, of which %q is no CA", roles.Authorities, roles.KeyPair)
	}
	if want := []string{join.KubeletClient, join.KubeletServing, join.KubeProxy}; !slices.Equal(roles.Requests, want) {
		t.Errorf("requests %q", roles.Requests)
	}
	if want := []string{pki.Client, pki.Server}; !slices.Equal(roles.Usages, want) {
		t.Errorf("usages %q", roles.Usages)
	}
}

// TestSpecs: package pki can issue every certificate of every golden plan, and the join server's is good for the name that
// nodes look for.
func TestSpecs(t *testing.T) {
	cases, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	servers := 0
	for _, dir := range cases {
		p, ok := readGolden(t, dir.Name())
		if !ok {
			continue
		}
		for _, c := range p.Certs {
			if _, err := pki.SpecOf(c); err != nil {
				t.Errorf("%s: %v", dir.Name(), err)
			}
			if c.Path == "/var/lib/rekindle/pki/join.crt" {
				servers++
				if !slices.Contains(c.Names, join.ServerName(p.Cluster)) {
					t.Errorf("%s: the join server has a certificate for %q", dir.Name(), c.Names)
				}
			}
		}
	}
	if servers < 8 {
		t.Errorf("saw %d join servers only", servers)
	}
}

// TestMemberNames: the certificates of every golden plan are good for the URLs of any member that can run on the node under
// any name, on loopback too, and for no other cluster's.
func TestMemberNames(t *testing.T) {
	cases, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, dir := range cases {
		p, ok := readGolden(t, dir.Name())
		if !ok {
			continue
		}
		for _, m := range p.Etcd {
			if m.PeerURL != m.PeerURLOf(m.Member) || m.ClientURL != m.ClientURLOf(m.Member) {
				t.Errorf("%s: %s is at %s and %s", dir.Name(), m.Member, m.PeerURL, m.ClientURL)
			}
			if (m.ClientCert == "") != (m.Scheme == "http") || (m.ClientKey == "") != (m.Scheme == "http") || (m.TrustedCA == "") != (m.Scheme == "http") {
				t.Errorf("%s: %s by %s with the certificate %q", dir.Name(), m.Name, m.Scheme, m.ClientCert)
			}
			for _, c := range p.Certs {
				if c.Authority != "etcd" || !slices.Contains(c.Usages, pki.Server) {
					continue
				}
				checked++
				cert := certificate(c.Names)
				for name, good := range map[string]bool{
					m.Member + "." + m.Domain: true, "i-0ffffffffffffffff." + m.Domain: true, m.Address: true,
					m.Domain: false, "a.b." + m.Domain: false, "i-0ffffffffffffffff.main.etcd.internal.other.example": false,
				} {
					if err := cert.VerifyHostname(name); (err == nil) != good {
						t.Errorf("%s: %s: %s: %v", dir.Name(), c.Path, name, err)
					}
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("saw %d pairs of member and certificate only", checked)
	}
}

// readGolden reads the plan of a case; it is false for what is no case.
func readGolden(t *testing.T, name string) (*plan.Plan, bool) {
	t.Helper()
	f, err := os.Open("testdata/" + name + "/plan.golden.yaml")
	if err != nil {
		return nil, false
	}
	defer f.Close()
	p, err := plan.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return p, true
}

func certificate(names []string) *x509.Certificate {
	c := new(x509.Certificate)
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	return c
}

// TestMemberURLs: a member's name is the same wherever it runs, and two clusters of one instance have two.
func TestMemberURLs(t *testing.T) {
	p, ok := readGolden(t, "events")
	if !ok || len(p.Etcd) != 2 {
		t.Fatal("the case events carries no two clusters")
	}
	var urls []string
	for _, m := range p.Etcd {
		urls = append(urls, m.PeerURLOf("i-1"), m.ClientURLOf("i-1"))
	}
	want := []string{
		"https://i-1.main.etcd.internal.prod.example:2380", "https://i-1.main.etcd.internal.prod.example:2379",
		"https://i-1.events.etcd.internal.prod.example:2382", "https://i-1.events.etcd.internal.prod.example:2381",
	}
	if !slices.Equal(urls, want) {
		t.Errorf("%q\nwant %q", urls, want)
	}
}
