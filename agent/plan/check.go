package plan

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"rekindle/roles"
)

// Check finds what would keep a plan from working, all of it: paths, duplicates, and every Kubernetes object, unit, TOML
// file and environment file in it, decoded as strictly as what reads it on the node, or stricter.
func Check(p *Plan) []error {
	var errs []error
	errs = append(errs, checkPaths(p)...)
	for _, f := range p.Files {
		if f.From != "" {
			continue // known only when the plan is applied
		}
		for _, err := range checkFile(f) {
			errs = append(errs, problem(f.Path, "%w", err))
		}
	}
	errs = append(errs, checkUnits(p)...)
	return errs
}

// checkFile chooses the reader by where the file lies.
func checkFile(f File) []error {
	switch dir, name := path.Split(f.Path); {
	case strings.HasPrefix(dir, kubeletDropIns+"/"):
		return checkDropIn(name, f.Content)
	case strings.HasPrefix(dir, manifestsDir+"/"):
		if strings.HasPrefix(name, ".") {
			return []error{problem(name, "the kubelet ignores files that begin with a dot: rename it")}
		}
		return checkStaticPod(f.Content)
	case strings.HasPrefix(dir, unitsDir+"/") && strings.HasSuffix(dir, ".d/"):
		return checkUnitFile(path.Base(strings.TrimSuffix(dir, ".d/")), f.Content, true)
	case dir == unitsDir+"/":
		return checkUnitFile(name, f.Content, false)
	case strings.HasPrefix(dir, "/etc/containerd/") && path.Ext(name) == ".toml":
		return checkTOML(f.Content)
	case dir == "/etc/sysctl.d/":
		return checkSysctls(f.Content)
	case strings.HasPrefix(f.Content, "apiVersion:") || path.Ext(name) == ".yaml" || path.Ext(name) == ".yml":
		return checkObject(f.Content)
	}
	return nil
}

// checkPaths looks at paths, duplicates, and files in the way of directories.
func checkPaths(p *Plan) (errs []error) {
	owner := map[string]string{}
	var files []string
	claim := func(kind, name string) {
		if err := roles.CheckPath(name); err != nil {
			errs = append(errs, problem(kind, "%w", err))
		}
		if other := owner[name]; other != "" {
			errs = append(errs, problem(name, "is there twice, as %s and as %s: keep one", other, kind))
		}
		owner[name] = kind
	}
	for _, d := range p.Dirs {
		claim("dir", d.Path)
	}
	for _, f := range p.Files {
		claim("file", f.Path)
		files = append(files, f.Path)
		if f.Mode == 0 {
			errs = append(errs, problem(f.Path, "mode 0000: nobody could read it"))
		}
		if f.Content != "" && f.From != "" {
			errs = append(errs, problem(f.Path, "has content and a place to read it from: keep one"))
		}
	}
	archives := map[string]string{}
	for _, a := range p.Assets {
		if a.Unpack {
			if err := roles.CheckPath(a.Path); err != nil {
				errs = append(errs, problem("asset "+a.Object, "%w", err))
			}
			// What an archive brought is recorded by its directory, so that it can be removed again.
			if other := archives[a.Path]; other != "" {
				errs = append(errs, problem("asset "+a.Object, "unpacks into %s like %s: give it a directory of its own", a.Path, other))
			}
			archives[a.Path] = a.Object
			continue
		}
		claim("asset", a.Path)
		files = append(files, a.Path)
	}
	for _, e := range p.Etcd {
		claim("etcd configuration", e.ConfigPath)
		claim("etcd data", e.DataDir)
	}
	for _, f := range files {
		for dir := path.Dir(f); dir != "/" && dir != "."; dir = path.Dir(dir) {
			if slices.Contains(files, dir) {
				errs = append(errs, problem(f, "lies under %s, which is a file", dir))
			}
		}
	}
	seen := map[string]bool{}
	for _, u := range p.Units {
		if seen[u.Name] {
			errs = append(errs, problem("unit "+u.Name, "is there twice: keep one"))
		}
		seen[u.Name] = true
	}
	return errs
}

var sysctlName = regexp.MustCompile(`^-?[A-Za-z0-9_*-]+([./][A-Za-z0-9_*-]+)+$`)

// checkSysctls reads sysctl.d(5).
func checkSysctls(text string) (errs []error) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !found || !sysctlName.MatchString(name) || strings.TrimSpace(value) == "" {
			errs = append(errs, problem(lineAt(i+1), "%q is no setting: write name = value", line))
		}
	}
	return errs
}

// checkVersion finds settings that the node's Kubernetes version does not know: what starts with one minor may keep
// the next from starting.
func checkVersion(p *Plan, d *Data) (errs []error) {
	minor := d.Kubernetes.Minor
	for component, extra := range map[string]map[string]*string{
		"kubelet": d.Config.Kubelet.ExtraArgs, "kube-apiserver": d.Config.Kubernetes.APIServer.ExtraArgs,
		"kube-controller-manager": d.Config.Kubernetes.ControllerManager.ExtraArgs,
		"kube-scheduler":          d.Config.Kubernetes.Scheduler.ExtraArgs, "kube-proxy": d.Config.Kubernetes.Proxy.ExtraArgs,
	} {
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

// removedFlags are flags that are still found in old configurations.
var removedFlags = []struct {
	component, flag string
	minor           int // the first without it
	remedy          string
}{
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
