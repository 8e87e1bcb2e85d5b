package join

import (
	"net/netip"
	"slices"
	"time"

	"rekindle/agent/pki"
)

// Whom the API server takes the holder of a certificate for: https://kubernetes.io/docs/reference/access-authn-authz/node/
const (
	nodePrefix = "system:node:"
	nodeGroup  = "system:nodes"
	proxyUser  = "system:kube-proxy"
)

// parseCSRs checks that each is a request signed by its own key, which is strong enough, for nothing but names.
func parseCSRs(requests []Request) ([]*pki.CSR, error) {
	csrs := make([]*pki.CSR, len(requests))
	for i, r := range requests {
		csr, err := pki.ParseCSR(r.CSR)
		if err != nil {
			return nil, refuse(BadCSR, "%s: %w", r.Name, err)
		}
		csrs[i] = csr
	}
	return csrs, nil
}

// specs are what the instance's certificates say, one for each request: made from what EC2 says of the instance, and
// then compared with what was asked for. Of a CSR only the public key goes into a certificate.
func specs(b Body, csrs []*pki.CSR, i Instance, life time.Duration) ([]pki.Spec, error) {
	all := make([]pki.Spec, len(csrs))
	for n, csr := range csrs {
		spec := pki.Spec{Life: life, Usages: []string{pki.Client}}
		switch b.Requests[n].Name {
		case KubeProxy:
			spec.CommonName = proxyUser
		case KubeletServing:
			spec.Usages = []string{pki.Server}
			spec.Names = names(csr.Names, i)
			fallthrough
		default:
			if !slices.Contains(i.Names, b.Node) {
				return nil, refuse(WrongSubject, "node %.80q, and the instance may be %q", b.Node, i.Names)
			}
			spec.CommonName, spec.Organizations = nodePrefix+b.Node, []string{nodeGroup}
		}
		if err := csr.Matches(spec); err != nil {
			return nil, refuse(WrongSubject, "%s: %.400s", b.Requests[n].Name, err)
		}
		if err := spec.Check(); err != nil {
			return nil, refuse(WrongSubject, "%s: %w", b.Requests[n].Name, err)
		}
		all[n] = spec
	}
	return all, nil
}

// names are those of the instance's own names and addresses that were asked for. Public addresses are not among them:
// they are NAT, nobody reaches a kubelet there, and tomorrow they are another instance's.
func names(asked []string, i Instance) []string {
	var granted []string
	for _, name := range i.Names {
		if slices.Contains(asked, name) {
			granted = append(granted, name)
		}
	}
	for _, address := range i.Addresses {
		if text := address.String(); slices.Contains(asked, text) {
			granted = append(granted, text)
		}
	}
	return granted
}

// among tells whether an address is one of the instance's.
func (i Instance) among(address netip.Addr) bool {
	return slices.Contains(i.Addresses, address) || slices.Contains(i.Public, address)
}
