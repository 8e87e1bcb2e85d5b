package facts

import (
	"fmt"
	"net/netip"
	"strings"
)

// ProviderID is the instance's name for Kubernetes' cloud provider: aws:///<zone>/<instance-id>, or "" off EC2.
func (i Instance) ProviderID() string {
	if i.ID == "" || i.Zone == "" {
		return ""
	}
	return "aws:///" + i.Zone + "/" + i.ID
}

// NodeName is the name of the Kubernetes Node: kind is config.Node.Name, "instance-id" (also when empty) or
// "private-dns-name". Both can be made by anyone who knows the instance, so a certificate can be checked against them.
func (i Instance) NodeName(kind string) (string, error) {
	switch kind {
	case "", "instance-id":
		if i.ID == "" {
			return "", fmt.Errorf("node name: no instance id is known")
		}
		return i.ID, nil
	case "private-dns-name":
		if i.PrivateDNSName == "" {
			return "", fmt.Errorf("node name: no private DNS name is known; set `node.name: instance-id`")
		}
		return i.PrivateDNSName, nil
	}
	return "", fmt.Errorf("node name: %q is neither instance-id nor private-dns-name", kind)
}

// NodeIPs are the addresses that the kubelet registers, the first one being the node's own: family is
// config.Node.IPFamily, "ipv4" (also when empty), "ipv6" or "dual", which is IPv4 first.
func (i Instance) NodeIPs(family string) ([]netip.Addr, error) {
	var want []netip.Addr
	switch family {
	case "", "ipv4":
		want = []netip.Addr{i.PrivateIPv4}
	case "ipv6":
		want = []netip.Addr{i.IPv6}
	case "dual":
		want = []netip.Addr{i.PrivateIPv4, i.IPv6}
	default:
		return nil, fmt.Errorf("node IP: %q is none of ipv4, ipv6, dual", family)
	}
	for n, a := range want {
		if !a.IsValid() {
			kind := "IPv4"
			if family == "ipv6" || n == 1 {
				kind = "IPv6"
			}
			return nil, fmt.Errorf("node IP: the instance has no %s address; give its subnet one, or set node.ipFamily", kind)
		}
	}
	return want, nil
}

// PrivateDNSName is what EC2 calls PrivateDnsName, which the cloud provider looks instances up by. It is made, not read:
// IMDS' hostname and local-hostname carry the domain of the VPC's DHCP options (kOps #13358), and DescribeInstances has it
// only once the instance runs, and only where the VPC has DNS host names. Resource says that the hostname type is the
// resource name; an instance without a primary IPv4 address has no other.
func PrivateDNSName(id, region string, primary netip.Addr, resource bool) string {
	domain := region + ".compute.internal"
	if region == "us-east-1" { // the oldest region alone has this name
		domain = "ec2.internal"
	}
	switch {
	case region == "":
		return ""
	case resource, !primary.Is4():
		return id + "." + domain
	}
	return "ip-" + strings.ReplaceAll(primary.String(), ".", "-") + "." + domain
}

// isResourceName tells from IMDS' hostname whether the instance's hostname type is "resource name". IMDS does not have
// the type itself, but whatever the domain, the first label is the instance id or is made from the address.
func isResourceName(hostname, id string) bool {
	label, _, _ := strings.Cut(hostname, ".")
	return id != "" && label == id
}
