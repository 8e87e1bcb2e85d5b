package plan

import (
	"cmp"
	"slices"

	"rekindle/agent/config"
)

// checkVersion finds settings that the node's Kubernetes version does not know: what starts with one minor may keep
// the next from starting.
func checkVersion(d *Data) (errs []error) {
	minor := d.Kubernetes.Minor
	for component, extra := range extraArgs(&d.Config) {
		for name, value := range extra {
			for _, gone := range removedFlags {
				if value != nil && gone.component == component && gone.flag == name && minor >= gone.minor {
					errs = append(errs, problem(component+" extraArgs."+name, "Kubernetes 1.%d does not know it and would not start: %s",
						minor, gone.remedy))
				}
			}
		}
	}
	for field, since := range newFields {
		if _, set := d.Config.Kubelet.Config[field]; set && minor < since {
			errs = append(errs, problem("kubelet.config."+field, "exists from Kubernetes 1.%d on, and this node runs 1.%d: remove it",
				since, minor))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errs
}

// extraArgs are the operator's flags by component.
func extraArgs(c *config.Config) map[string]map[string]*string {
	k := c.Kubernetes
	return map[string]map[string]*string{
		"kubelet":                 c.Kubelet.ExtraArgs,
		"kube-apiserver":          k.APIServer.ExtraArgs,
		"kube-controller-manager": k.ControllerManager.ExtraArgs,
		"kube-scheduler":          k.Scheduler.ExtraArgs,
		"kube-proxy":              k.Proxy.ExtraArgs,
	}
}

type removedFlag struct {
	component, flag string
	minor           int // the first without it
	remedy          string
}

// removedFlags are flags that are still found in old configurations. Between 1.34 and 1.37 only pod-infra-container-image
// went: the lists that internal/flaggen makes of the two differ by no other.
var removedFlags = []removedFlag{
	{"kubelet", "pod-infra-container-image", 35, "remove it, containerd.sandboxImage pins the image"}, // kubernetes#133779
	{"kubelet", "cloud-config", 34, "remove it, the cloud controller reads its own"},                  // kubernetes#130161
	{"kubelet", "container-runtime", 27, "remove it, there is only the remote one"},
	{"kubelet", "network-plugin", 24, "remove it, containerd loads CNI plugins"},
	{"kubelet", "cni-bin-dir", 24, "remove it, containerd loads CNI plugins"},
	{"kubelet", "cni-conf-dir", 24, "remove it, containerd loads CNI plugins"},
	{"kubelet", "keep-terminated-pod-volumes", 31, "remove it"},
	{"kube-apiserver", "cloud-provider", 33, "remove it, the cloud controller is a component of its own"},
	{"kube-apiserver", "cloud-config", 33, "remove it, the cloud controller reads its own"},
	{"kube-apiserver", "insecure-port", 24, "remove it"},
	{"kube-apiserver", "service-account-api-audiences", 25, "use api-audiences"},
	{"kube-controller-manager", "pod-eviction-timeout", 27, "remove it, taints decide"},
	{"kube-controller-manager", "enable-taint-manager", 27, "remove it, it is always on"},
	{"kube-controller-manager", "horizontal-pod-autoscaler-downscale-delay", 31, "use horizontal-pod-autoscaler-downscale-stabilization"},
	{"kube-scheduler", "policy-config-file", 23, "use a KubeSchedulerConfiguration with config"},
}

// newFields of KubeletConfiguration, by the first minor that knows them. An older kubelet ignores them with a log line
// that nobody reads. (Compared: k8s.io/kubelet v0.34 to v0.37.)
var newFields = map[string]int{"memoryReservationPolicy": 36, "tlsCurvePreferences": 36, "defaultPodSysctls": 37}
