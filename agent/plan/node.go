package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	kubeletapis "k8s.io/kubelet/pkg/apis"

	"rekindle/agent/config"
	"rekindle/agent/facts"
	"rekindle/roles"
)

// node derives how the node presents itself.
func node(c *config.Config, f facts.Facts, role roles.Role) (Node, []string, []error) {
	n := Node{ProviderID: f.Instance.ProviderID()}
	var errs []error
	var err error
	if n.Name, err = f.Instance.NodeName(c.Node.Name); err != nil {
		errs = append(errs, problem("node.name", "%w", err))
	}
	ips, err := f.Instance.NodeIPs(c.Node.IPFamily)
	if err != nil {
		errs = append(errs, problem("node.ipFamily", "%w", err))
	}
	for _, a := range ips {
		n.IPs = append(n.IPs, a.String())
		n.IPv6 = n.IPv6 || a.Is6()
		n.Loopback = n.Loopback || a.IsLoopback()
	}
	if len(n.IPs) > 0 {
		n.IP = n.IPs[0]
	}

	n.Labels = maps.Clone(role.Labels)
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	// The cloud controller sets the same two; until it runs, pods can already be placed by zone.
	n.Labels["topology.kubernetes.io/region"] = f.Instance.Region
	n.Labels["topology.kubernetes.io/zone"] = f.Instance.Zone
	maps.Copy(n.Labels, c.Node.Labels)
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		errs = append(errs, checkLabel(key, n.Labels[key])...)
	}
	n.Taints = taints(role.Taints, c.Node.Taints)

	var warnings []string
	n.MaxPods, warnings = maxPods(c, f)
	n.KubeReserved = reserved(facts.KubeReserved(n.MaxPods, f.Machine.CPUs, f.Machine.MemoryBytes, f.Machine.StorageBytes))
	return n, warnings, errs
}

// maxPods is the number that the kubelet will work with: what is reserved follows from it, so the places where an
// operator can set it are looked at in the kubelet's own order of precedence.
func maxPods(c *config.Config, f facts.Facts) (int, []string) {
	if arg := c.Kubelet.ExtraArgs["max-pods"]; arg != nil {
		if n, err := strconv.Atoi(*arg); err == nil && n > 0 {
			return n, nil
		}
	}
	switch n := c.Kubelet.Config["maxPods"].(type) {
	case int:
		return n, nil
	case float64:
		return int(n), nil
	}
	switch {
	case c.Node.MaxPods > 0:
		return c.Node.MaxPods, nil
	case !c.Node.ENIPods:
		return facts.MaxPodsUnknown, nil
	}
	n, known := facts.MaxPods(f.Machine.ENI, f.Machine.CPUs)
	if !known {
		return n, []string{fmt.Sprintf("the addresses of instance type %q are not known, so %d pods are assumed: set node.maxPods",
			f.Instance.Type, n)}
	}
	return n, nil
}

// reserved writes what is kept from pods as quantities; a resource of which nothing is kept is left out.
func reserved(r facts.Reserved) map[string]string {
	m := map[string]string{}
	for name, quantity := range map[string]string{
		"cpu":               strconv.FormatInt(r.CPUMillis, 10) + "m",
		"memory":            strconv.FormatInt(r.MemoryBytes>>20, 10) + "Mi",
		"ephemeral-storage": strconv.FormatInt(r.EphemeralStorageBytes>>20, 10) + "Mi",
	} {
		if quantity[0] != '0' {
			m[name] = quantity
		}
	}
	return m
}

// taints lays the operator's over the role's: the same key and effect replaces.
func taints(role []roles.Taint, operator []config.Taint) []config.Taint {
	var all []config.Taint
	for _, t := range role {
		all = append(all, config.Taint(t))
	}
	for _, t := range operator {
		i := slices.IndexFunc(all, func(old config.Taint) bool { return old.Key == t.Key && old.Effect == t.Effect })
		if i >= 0 {
			all[i] = t
		} else {
			all = append(all, t)
		}
	}
	return all
}

// checkLabel refuses what would keep the kubelet from starting, or from registering: labels of Kubernetes' own domains
// beyond those that a node may give itself (NodeRestriction).
func checkLabel(key, value string) (errs []error) {
	where := "node.labels." + key
	for _, text := range validation.IsQualifiedName(key) {
		errs = append(errs, problem(where, "%s", text))
	}
	for _, text := range validation.IsValidLabelValue(value) {
		errs = append(errs, problem(where, "value %q: %s", value, text))
	}
	prefix, _, found := strings.Cut(key, "/")
	switch {
	case !found || !under(prefix, "kubernetes.io") && !under(prefix, "k8s.io"), kubeletapis.IsKubeletLabel(key):
	case under(prefix, "node-role.kubernetes.io"):
		errs = append(errs, problem(where, "a kubelet may not give itself a node role: label the node with kubectl, "+
			"or use a label outside kubernetes.io"))
	default:
		errs = append(errs, problem(where, "the kubelet refuses to start with it: of kubernetes.io and k8s.io it may only set "+
			"%s and what lies under %s", strings.Join(kubeletapis.KubeletLabels(), ", "),
			strings.Join(kubeletapis.KubeletLabelNamespaces(), ", ")))
	}
	return errs
}

func under(prefix, domain string) bool {
	return prefix == domain || strings.HasSuffix(prefix, "."+domain)
}
