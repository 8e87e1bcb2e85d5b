package config

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

func (v *validator) node() {
	n := v.config.Node
	v.oneOf("node.name", n.Name, "instance-id", "private-dns-name")
	v.oneOf("node.ipFamily", n.IPFamily, "ipv4", "ipv6", "dual")
	if n.MaxPods < 0 || n.MaxPods > 1000 {
		v.bad("node.maxPods", fmt.Sprintf("%d is out of range", n.MaxPods), "write 1 to 1000, or leave it out")
	} else if n.MaxPods == 0 && v.isSet("node.maxPods") && !v.origins["node.maxPods"].null {
		v.bad("node.maxPods", "a node without pods", "write 1 to 1000, or leave it out")
	}
	for key, value := range n.Labels {
		path := join("node.labels", key)
		if why := first(validation.IsQualifiedName(key)); why != "" {
			v.badKey(path, "not a label's key: "+quote(key), "write [PREFIX/]NAME: a DNS name, and at most 63 letters, digits, dashes, dots and underscores")
		} else if !kubeletMay(key) {
			v.badKey(path, "the kubelet may not give itself this label, and does not start with it", "use a prefix of your own or node.kubernetes.io; the masters set node-role.kubernetes.io")
		}
		if len(validation.IsValidLabelValue(value)) > 0 {
			v.bad(path, "not a label's value: "+quote(value), "write at most 63 letters, digits, dashes, dots and underscores, beginning and ending with a letter or digit")
		}
	}
	for i, t := range n.Taints {
		v.taint(at("node.taints", i), t)
	}
	unique(v, "node.taints", n.Taints, func(t Taint) string {
		if t.Key == "" {
			return ""
		}
		return t.Key + ":" + t.Effect
	}, "")
}

func (v *validator) taint(path string, t Taint) {
	if t.Key == "" {
		v.bad(path+".key", "a taint without a key", "set it")
	} else if len(validation.IsQualifiedName(t.Key)) > 0 {
		v.bad(path+".key", "not a taint's key: "+quote(t.Key), "write [PREFIX/]NAME: a DNS name, and at most 63 letters, digits, dashes, dots and underscores")
	}
	if len(validation.IsValidLabelValue(t.Value)) > 0 {
		v.bad(path+".value", "not a taint's value: "+quote(t.Value), "write at most 63 letters, digits, dashes, dots and underscores")
	}
	if t.Effect == "" {
		v.bad(path+".effect", "a taint without an effect", "write NoSchedule, PreferNoSchedule or NoExecute")
	}
	v.oneOf(path+".effect", t.Effect, "NoSchedule", "PreferNoSchedule", "NoExecute")
}

// kubeletMay tells whether --node-labels accepts a key in Kubernetes' own domains.
// (kubernetes/pkg/kubelet/apis/well_known_labels.go)
func kubeletMay(key string) bool {
	prefix, _, ok := strings.Cut(key, "/")
	if !ok || !(inDomain(prefix, "kubernetes.io") || inDomain(prefix, "k8s.io")) {
		return true
	}
	if inDomain(prefix, "kubelet.kubernetes.io") || inDomain(prefix, "node.kubernetes.io") {
		return true
	}
	return slices.Contains([]string{
		"kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch",
		"topology.kubernetes.io/zone", "topology.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
		"beta.kubernetes.io/instance-type", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
	}, key)
}

func inDomain(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }
