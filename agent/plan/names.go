package plan

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"rekindle/agent/config"
	"rekindle/agent/facts"
)

// serverNames are what clients call an API server on this node: inside the cluster, by the nodes' endpoint, by the node's
// own names and addresses, and as the operator says.
func serverNames(c *config.Config, n Node, i facts.Instance, endpoint string) []string {
	names := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.Kubernetes.ClusterDomain,
		"api.internal." + c.Cluster,
	}
	if u, err := url.Parse(endpoint); err == nil {
		names = append(names, u.Hostname())
	}
	names = append(names, n.Name, i.PrivateDNSName, "localhost")
	for _, text := range c.Kubernetes.ServiceCIDRs {
		// The service "kubernetes" has the first address of each network.
		if network, err := netip.ParsePrefix(text); err == nil {
			names = append(names, network.Masked().Addr().Next().String())
		}
	}
	names = append(names, n.IPs...)
	names = append(names, "127.0.0.1", "::1")
	return distinct(append(names, c.PKI.Names...))
}

// etcdNames are what clients and peers call a member on this node: by the name in its advertised URL, by the names in the
// configured endpoints (which of them are this node's is not known here), and by the node's own names and addresses.
func etcdNames(c *config.Config, n Node, i facts.Instance) []string {
	names := []string{memberHost(c.Cluster, i.ID)}
	for _, endpoint := range c.Etcd.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			continue
		}
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			names = append(names, u.Hostname())
		}
	}
	names = append(names, n.Name, i.PrivateDNSName, "localhost")
	names = append(names, n.IPs...)
	return distinct(append(names, "127.0.0.1", "::1"))
}

// memberHost is the name that the hosts block gives to a member of etcd.
func memberHost(cluster, member string) string { return member + ".etcd.internal." + cluster }

// distinct writes names and addresses in one way, and keeps the first of each.
func distinct(names []string) []string {
	var all []string
	for _, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		if a, err := netip.ParseAddr(name); err == nil {
			name = a.Unmap().String()
		}
		if name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// anonymousHealth says whether the API server's own file may say that unauthenticated requests reach health endpoints
// only. It excludes the flags that an operator says the same with, or more (kubeapiserver/options, Validate and
// ToAuthenticationConfig).
func anonymousHealth(extra map[string]*string) bool {
	for name, value := range extra {
		switch {
		case name == "authentication-config", name == "anonymous-auth":
			return false
		case strings.HasPrefix(name, "oidc-") && value != nil:
			return false
		}
	}
	return true
}
