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

// etcdNames are what clients and peers call a member on this node: by the name in its advertised URL, by that of any
// member, because a volume may bring one here that keeps its name, by the names in the configured endpoints (which of them
// are this node's is not known here), and by the node's own names and addresses.
func etcdNames(c *config.Config, n Node, i facts.Instance) []string {
	var names []string
	for _, name := range c.Etcd.Clusters {
		domain := etcdDomain(name, c.Cluster)
		names = append(names, i.ID+"."+domain, "*."+domain)
	}
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

// etcdDomain comes after the names of an etcd cluster's members. The members of two clusters move with their volumes,
// each for itself, so the same instance's name can stand for two places: each cluster has a domain of its own.
func etcdDomain(name, cluster string) string { return name + ".etcd.internal." + cluster }

// PeerURLOf is the URL at which the other members find one, by its name.
func (e Etcd) PeerURLOf(member string) string { return e.urlOf(member, e.PeerPort) }

// ClientURLOf is the URL at which clients find a member, by its name.
func (e Etcd) ClientURLOf(member string) string { return e.urlOf(member, e.ClientPort) }

func (e Etcd) urlOf(member string, port int) string {
	return e.Scheme + "://" + hostPort(member+"."+e.Domain, port)
}

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
