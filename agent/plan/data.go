package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"rekindle/agent/config"
	"rekindle/agent/facts"
)

// Data is what a template sees. docs/roles.md describes it; a test compares.
type Data struct {
	Cluster string
	Role    string
	// Env is what /etc/rekindle/env holds, by name.
	Env        map[string]string
	Node       Node
	Kubernetes Kubernetes
	Etcd       EtcdData
	// Images are the paths of the image archives that the plan's assets bring.
	Images []string
	// Sysctls and Modules are the operator's.
	Sysctls map[string]string
	Modules []string

	Instance facts.Instance
	Machine  facts.Machine
	Config   config.Config

	controlPlane bool // the role brings an API server
}

// Node is the node as Kubernetes knows it.
type Node struct {
	Name       string
	IP         string   // the first of IPs
	IPs        []string // in the order of the IP families
	IPv6       bool     // the node has IPv6 traffic
	Loopback   bool     // a laboratory: several nodes share a host
	ProviderID string
	MaxPods    int
	Labels     map[string]string
	Taints     []config.Taint
	// KubeReserved are quantities by resource: what the kubelet keeps for itself, the runtime and the system.
	KubeReserved map[string]string
}

// Kubernetes is the cluster as this node sees it.
type Kubernetes struct {
	Version string // without "v"
	Minor   int
	// APIEndpoint is the API server's URL for nodes, LocalEndpoint that of the server on this node, and Server the one
	// of the two that this node's kubelet and kube-proxy talk to.
	APIEndpoint   string
	LocalEndpoint string
	Server        string
	APIPort       int
	// FeatureGates as a flag takes them: "A=true,B=false".
	FeatureGates string
	// NodeCIDRs says that the controller manager gives every node a part of the pod network.
	NodeCIDRs bool
	// ServerNames are the names and addresses for which an API server on this node has its certificate.
	ServerNames []string
	// AnonymousHealth says that unauthenticated requests get to the API server's health endpoints and no further. It is
	// false where the operator's flags say who gets in.
	AnonymousHealth bool
}

// EtcdData is etcd as this node sees it.
type EtcdData struct {
	// Local says that this node carries members.
	Local bool
	// RunAs is "pod" or "unit".
	RunAs    string
	Version  string
	Image    string
	Clusters []EtcdCluster
	// Servers and EventServers are what an API server on this node connects to; EventServers is empty when events
	// have no cluster of their own.
	Servers      []string
	EventServers []string
	// ServerNames are the names and addresses for which a member on this node has its certificates.
	ServerNames []string
	Plaintext   bool
}

// EtcdCluster is one etcd cluster's member on this node.
type EtcdCluster struct {
	Name        string
	DataDir     string
	ConfigPath  string
	ClientPort  int
	PeerPort    int
	MetricsPort int
	MetricsHost string
	// Digest changes when the member's configuration does, so that what runs it is started again.
	Digest string
}

// component is one Kubernetes binary's settings by the name of its binary.
func (d *Data) component(name string) (config.Component, bool) {
	k := d.Config.Kubernetes
	switch name {
	case "kube-apiserver":
		return k.APIServer, true
	case "kube-controller-manager":
		return k.ControllerManager, true
	case "kube-scheduler":
		return k.Scheduler, true
	case "kube-proxy":
		return k.Proxy, true
	}
	return config.Component{}, false
}

// kubernetes derives what the templates need of the cluster.
func kubernetes(c *config.Config, node Node, i facts.Instance, controlPlane bool) (Kubernetes, []error) {
	k := Kubernetes{Version: strings.TrimPrefix(c.Kubernetes.Version, "v"), APIPort: 6443}
	var errs []error
	v, err := version.ParseSemantic(k.Version)
	switch {
	case err != nil:
		errs = append(errs, problem("kubernetes.version", "%q is no version: write it like 1.37.2", c.Kubernetes.Version))
	case v.Major() != 1 || v.Minor() < minMinor || v.Minor() > maxMinor:
		errs = append(errs, problem("kubernetes.version", "%s is not between 1.%d and 1.%d: use a known minor, or another agent",
			k.Version, minMinor, maxMinor))
	default:
		k.Minor = int(v.Minor())
	}

	k.APIEndpoint = c.APIURL()
	if u, err := url.Parse(k.APIEndpoint); err != nil || u.Scheme != "https" || u.Hostname() == "" {
		errs = append(errs, problem("kubernetes.apiEndpoint", "%q is no URL of an API server: write https://<host>:<port>", k.APIEndpoint))
	}
	if arg := c.Kubernetes.APIServer.ExtraArgs["secure-port"]; arg != nil {
		k.APIPort, err = strconv.Atoi(*arg)
		if err != nil || k.APIPort < 1 || k.APIPort > 65535 {
			errs = append(errs, problem("kubernetes.apiServer.extraArgs.secure-port", "%q is no port", *arg))
		}
	}
	k.LocalEndpoint = "https://" + hostPort(node.IP, k.APIPort)
	k.Server = k.APIEndpoint
	if controlPlane {
		k.Server = k.LocalEndpoint // never newer than the kubelet beside it
	}
	var gates []string
	for _, name := range slices.Sorted(maps.Keys(c.Kubernetes.FeatureGates)) {
		gates = append(gates, name+"="+strconv.FormatBool(c.Kubernetes.FeatureGates[name]))
	}
	k.FeatureGates = strings.Join(gates, ",")
	k.ServerNames = serverNames(c, node, i, k.APIEndpoint)
	k.AnonymousHealth = anonymousHealth(c.Kubernetes.APIServer.ExtraArgs)
	// With the VPC's own addresses for pods there is nothing to hand out.
	k.NodeCIDRs = !c.Node.ENIPods && len(c.Kubernetes.PodCIDRs) > 0
	if controlPlane && len(c.Kubernetes.ServiceCIDRs) > 0 {
		service, err := netip.ParsePrefix(c.Kubernetes.ServiceCIDRs[0])
		own, errIP := netip.ParseAddr(node.IP)
		if err == nil && errIP == nil && service.Addr().Is4() != own.Is4() {
			errs = append(errs, problem("kubernetes.serviceCIDRs[0]", "%s is not of the family of the node's address %s, and the API "+
				"server would not start: put the other first, or set node.ipFamily", service, own))
		}
	}
	if k.NodeCIDRs && !c.Kubernetes.ControllerManager.Disabled {
		errs = append(errs, checkPodCIDRs(c)...)
	}
	return k, errs
}

// checkPodCIDRs wants room for whole nodes: the controller manager gives each a /24 (IPv6: /64), does not start with a
// smaller network, and cannot count more than 2^16 of them.
func checkPodCIDRs(c *config.Config) (errs []error) {
	for i, text := range c.Kubernetes.PodCIDRs {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			continue // config.Load has said so
		}
		mask, flag := 24, "node-cidr-mask-size-ipv4"
		if network.Addr().Is6() {
			mask, flag = 64, "node-cidr-mask-size-ipv6"
		}
		extra := c.Kubernetes.ControllerManager.ExtraArgs
		if extra[flag] != nil || extra["node-cidr-mask-size"] != nil {
			continue
		}
		if bits := network.Bits(); bits > mask || mask-bits > 16 {
			errs = append(errs, problem(fmt.Sprintf("kubernetes.podCIDRs[%d]", i), "%s cannot be cut into a /%d for each node: take one "+
				"between /%d and /%d, or set controllerManager.extraArgs %s", network, mask, mask-16, mask, flag))
		}
	}
	return errs
}

// The minors of Kubernetes that the built-in roles are written for.
const (
	minMinor = 34
	maxMinor = 37
)

// hostPort puts an address into a URL, with brackets around IPv6.
func hostPort(host string, port int) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(addr, uint16(port)).String()
	}
	return host + ":" + strconv.Itoa(port)
}
