package plan_test

import (
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
		f, err := os.Open("testdata/" + dir.Name() + "/plan.golden.yaml")
		if err != nil {
			continue // not a case
		}
		p, err := plan.Read(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
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
