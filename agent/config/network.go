package config

import (
	"fmt"
	"k8s.io/apimachinery/pkg/util/validation"
	"net/netip"
	"slices"
	"strings"
)

// families says which IP families the node has.
func (c *Config) families() (v4, v6 bool) {
	return c.Node.IPFamily != "ipv6", c.Node.IPFamily != "ipv4"
}

func (v *validator) networks() {
	k := &v.config.Kubernetes
	services := v.cidrs("kubernetes.serviceCIDRs", k.ServiceCIDRs)
	pods := v.cidrs("kubernetes.podCIDRs", k.PodCIDRs)
	for i, s := range services {
		path := at("kubernetes.serviceCIDRs", i)
		switch {
		case !s.IsValid():
		case s.Addr().Is4() && s.Bits() > 28, s.Addr().Is6() && s.Bits() > 124:
			v.bad(path, s.String()+" has no room for the DNS service, the tenth address", "write a network of at least 16 addresses")
		case s.Addr().Is4() && s.Bits() < 8, s.Addr().Is6() && s.Bits() < 64:
			v.bad(path, s.String()+" is larger than the API server accepts", "write /8 or smaller (IPv4), /64 or smaller (IPv6)")
		}
		for j, p := range pods {
			if s.IsValid() && p.IsValid() && s.Overlaps(p) {
				v.bad(at("kubernetes.podCIDRs", j), fmt.Sprintf("%s overlaps with the service network %s", p, s),
					"choose networks that share no address")
			}
		}
	}
	for i, p := range pods {
		v.podNetwork(at("kubernetes.podCIDRs", i), p)
	}
	v.clusterDNS(services)
}

// podNetwork wants room for one network per node, as the controller manager does: it does not start otherwise.
func (v *validator) podNetwork(path string, p netip.Prefix) {
	args := v.config.Kubernetes.ControllerManager.ExtraArgs
	for _, own := range []string{"allocate-node-cidrs", "node-cidr-mask-size", "node-cidr-mask-size-ipv4", "node-cidr-mask-size-ipv6"} {
		if args[own] != nil {
			return
		}
	}
	if v.config.Node.ENIPods || !p.IsValid() {
		return
	}
	if p.Addr().Is4() && (p.Bits() > 24 || p.Bits() < 8) {
		v.bad(path, p.String()+" cannot be divided into a /24 for each node", "write a network from /8 to /24")
	}
	if p.Addr().Is6() && (p.Bits() > 64 || p.Bits() < 48) {
		v.bad(path, p.String()+" cannot be divided into a /64 for each node", "write a network from /48 to /64")
	}
}

// cidrs parses one network of each family at most, and checks them against node.ipFamily. What does not parse is the
// zero Prefix in its place.
func (v *validator) cidrs(list string, texts []string) []netip.Prefix {
	v4, v6 := v.config.families()
	out := make([]netip.Prefix, len(texts))
	var fours, sixes int
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			remedy := "write address/bits, for instance 100.64.0.0/13"
			if a, e := netip.ParseAddr(text); e == nil {
				remedy = fmt.Sprintf("add the prefix length: %s/%d", a, a.BitLen()-16)
			}
			v.bad(at(list, i), "not a network: "+quote(text), remedy)
			continue
		case p.Addr().Is4In6():
			v.bad(at(list, i), "an IPv4 address written as IPv6: "+quote(text), "write it as IPv4")
			continue
		case p != p.Masked():
			v.bad(at(list, i), quote(text)+" has bits set after its prefix", "write "+p.Masked().String())
		}
		out[i] = p.Masked()
		if p.Addr().Is4() {
			fours++
		} else {
			sixes++
		}
		switch {
		case p.Addr().Is4() && !v4:
			v.bad(at(list, i), "an IPv4 network, but node.ipFamily is ipv6", "write an IPv6 network, or set node.ipFamily to ipv4 or dual")
		case p.Addr().Is6() && !v6:
			v.bad(at(list, i), "an IPv6 network, but node.ipFamily is ipv4", "write an IPv4 network, or set node.ipFamily to ipv6 or dual")
		case fours > 1 || sixes > 1:
			v.bad(at(list, i), "a second network of the same IP family", "write one network, or one of each family")
		}
	}
	valid := !slices.Contains(out, netip.Prefix{})
	if v4 && v6 && valid && len(texts) > 0 && (fours == 0 || sixes == 0) {
		v.bad(list, "one IP family only, but node.ipFamily is dual", "write one network of each family")
	}
	return out
}

func (v *validator) clusterDNS(services []netip.Prefix) {
	servers := v.config.Kubernetes.ClusterDNS
	if len(servers) > 3 {
		v.bad("kubernetes.clusterDNS", fmt.Sprintf("%d name servers; resolvers use at most 3", len(servers)), "write at most 3")
	}
	for i, text := range servers {
		path := at("kubernetes.clusterDNS", i)
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			v.bad(path, "not an IP address: "+quote(text), "write the address of the DNS service")
		case a.IsLinkLocalUnicast(): // a node-local cache
		case v.isSet(path) && !slices.ContainsFunc(services, func(s netip.Prefix) bool { return s.IsValid() && s.Contains(a) }):
			v.warn(path, a.String()+" is not in a service network", "leave clusterDNS out for the tenth address of each service network")
		}
	}
}

// Overlaps compares the cluster's networks with those of the VPC. Pods may share the VPC's when they take addresses
// from its interfaces (node.eniPods).
func (c *Config) Overlaps(vpc []netip.Prefix) Problems {
	var ps Problems
	compare := func(list string, texts []string) {
		for i, text := range texts {
			p, err := netip.ParsePrefix(text)
			for _, n := range vpc {
				if err == nil && p.Overlaps(n) {
					ps = append(ps, Problem{Path: at(list, i), Message: fmt.Sprintf("%s overlaps with the VPC's %s", p, n),
						Remedy: "choose a network that shares no address with the VPC, its peers and its transit gateways"})
				}
			}
		}
	}
	compare("kubernetes.serviceCIDRs", c.Kubernetes.ServiceCIDRs)
	if !c.Node.ENIPods {
		compare("kubernetes.podCIDRs", c.Kubernetes.PodCIDRs)
	}
	return ps
}

func (v *validator) discovery() {
	d := v.config.Discovery
	if d.ZoneID != "" && !zoneID.MatchString(d.ZoneID) {
		remedy := "write the hosted zone's id, for instance Z0123456789ABCDEFGHIJ"
		if rest, ok := strings.CutPrefix(d.ZoneID, "/hostedzone/"); ok {
			remedy = "write " + clip(rest, 40)
		}
		v.bad("discovery.zoneID", "not a Route 53 zone id: "+quote(d.ZoneID), remedy)
	}
	if d.ZoneName != "" && (len(validation.IsDNS1123Subdomain(strings.TrimSuffix(d.ZoneName, "."))) > 0) {
		v.bad("discovery.zoneName", "not a zone's name: "+quote(d.ZoneName), "write it like internal.example.com")
	}
	v.oneOf("discovery.mode", d.Mode, "auto", "gossip", "route53")
	v.oneOf("discovery.gossip.members", d.Gossip.Members, "all", "masters")
	v.oneOf("apiProxy.mode", v.config.APIProxy.Mode, "auto", "off")
	if d.Gossip.Port < 1 || d.Gossip.Port > 65535 {
		v.bad("discovery.gossip.port", fmt.Sprintf("%d is out of range", d.Gossip.Port), "write 1 to 65535")
	}
	if d.Gossip.Port == v.config.Join.Port {
		v.bad("discovery.gossip.port", fmt.Sprintf("%d is join.port, too", d.Gossip.Port), "choose another port for one of them")
	}
	if d.Gossip.Keyring != "" {
		v.ref("discovery.gossip.keyring", d.Gossip.Keyring)
	}
	for i, m := range d.Masters {
		if !host(m) {
			v.bad(at("discovery.masters", i), "not an address: "+quote(m), "write an IP address or a host name, with :PORT if it is not the default; IPv6 with a port in brackets")
		}
	}
	unique(v, "discovery.masters", d.Masters, func(m string) string { return m }, "")
}
