package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"aead.dev/minisign"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The Kubernetes minors that the built-in roles are written and tested for.
const oldestMinor, newestMinor = 34, 37

var (
	version     = regexp.MustCompile(`^([0-9]+)\.([0-9]+)\.(0|[1-9][0-9]*)(-(alpha|beta|rc)\.[0-9]+)?$`)
	featureGate = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	flagName    = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9.-]*$`)
	region      = regexp.MustCompile(`^[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}$`)
)

// semver parses major and minor; the remedy of what does not parse is reported.
func (v *validator) semver(path, text, example string) (major, minor int, ok bool) {
	m := version.FindStringSubmatch(text)
	if m == nil {
		remedy := "write all three numbers, for instance " + example
		if t := strings.TrimPrefix(text, "v"); t != text && version.MatchString(t) {
			remedy = "leave the v out: " + t
		}
		v.bad(path, "not a version: "+quote(text), remedy)
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(m[1])
	minor, err2 := strconv.Atoi(m[2])
	if err1 != nil || err2 != nil {
		v.bad(path, "not a version: "+quote(text), "write it as "+example)
		return 0, 0, false
	}
	return major, minor, true
}

func (v *validator) kubernetes() {
	k := &v.config.Kubernetes
	if k.Version != "" {
		major, minor, ok := v.semver("kubernetes.version", k.Version, "1.37.2")
		if ok && (major != 1 || minor < oldestMinor || minor > newestMinor) {
			v.bad("kubernetes.version", fmt.Sprintf("Kubernetes %d.%d is not known to this agent", major, minor),
				fmt.Sprintf("write a version from 1.%d to 1.%d, or use another release of rekindle", oldestMinor, newestMinor))
		}
	}
	if k.APIEndpoint != "" {
		v.endpoint("kubernetes.apiEndpoint", k.APIEndpoint, []string{"https"}, false)
	}
	v.domain("kubernetes.clusterDomain", k.ClusterDomain)
	switch repository := k.ImageRepository; {
	case repository == "":
	case strings.Contains(repository, "://"):
		v.bad("kubernetes.imageRepository", "an image repository has no scheme: "+quote(repository), "remove what stands before ://, with it")
	case !imageName.MatchString(repository):
		v.bad("kubernetes.imageRepository", "not an image repository: "+quote(repository), "write HOST/PATH without a tag and without a slash at the end")
	}
	for name := range k.FeatureGates {
		if !featureGate.MatchString(name) {
			v.badKey(join("kubernetes.featureGates", name), "not a feature gate: "+quote(name), "write its name as in Kubernetes' documentation, for instance AllAlpha")
		}
	}
	for _, c := range []struct {
		name string
		Component
	}{{"apiServer", k.APIServer}, {"controllerManager", k.ControllerManager}, {"scheduler", k.Scheduler}, {"proxy", k.Proxy}} {
		v.image("kubernetes."+c.name+".image", c.Image)
		v.flags("kubernetes."+c.name+".extraArgs", c.ExtraArgs)
	}
	v.flags("kubelet.extraArgs", v.config.Kubelet.ExtraArgs)
	for key, want := range map[string]string{"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1"} {
		if got, ok := v.config.Kubelet.Config[key]; ok && got != want {
			v.bad("kubelet.config."+key, fmt.Sprintf("want %s, got %v", want, got), "leave it out")
		}
	}
}

// flags checks the names of a component's arguments.
func (v *validator) flags(path string, args map[string]*string) {
	for name, value := range args {
		switch own := join(path, name); {
		case strings.HasPrefix(name, "-"):
			v.badKey(own, "a flag with its dashes: "+quote(name), "write "+strings.TrimLeft(name, "-"))
		case strings.Contains(name, "="):
			v.badKey(own, "a flag with its value: "+quote(name), "write NAME: VALUE")
		case strings.Contains(name, "_"):
			v.badKey(own, "a flag with underscores: "+quote(name), "write "+strings.ReplaceAll(name, "_", "-"))
		case !flagName.MatchString(name):
			v.badKey(own, "not a flag's name: "+quote(name), "write its name without dashes, for instance v")
		case value != nil:
			v.line(own, *value)
		}
	}
}

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
// (k8s.io/kubernetes/pkg/apis/core: the kubelet's well-known labels.)
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

func (v *validator) assets() {
	a := v.config.Assets
	if a.Parallel < 1 || a.Parallel > 64 {
		v.bad("assets.parallel", fmt.Sprintf("%d is out of range", a.Parallel), "write 1 to 64")
	}
	v.within("assets.readTimeout", a.ReadTimeout, 1e9, 600e9)
	if a.PublicKey == "" || secret(a.PublicKey) != "" {
		return
	}
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte(a.PublicKey)); err != nil || strings.ContainsAny(a.PublicKey, "\n ") {
		v.bad("assets.publicKey", "not a minisign public key: "+quote(a.PublicKey), "write the second line of minisign.pub, 56 characters that begin with RW")
	}
	if a.Unverified {
		v.bad("assets.unverified", "unverified and publicKey exclude each other", "remove one of them")
	}
}

// services are the endpoints that can be replaced.
var services = []string{"s3", "ec2", "autoscaling", "sts", "ssm", "route53", "imds"}

func (v *validator) aws() {
	a := v.config.AWS
	if a.Region != "" && !region.MatchString(a.Region) {
		v.bad("aws.region", "not a region: "+quote(a.Region), "write it like cn-north-1, or leave it out: instance metadata has it")
	}
	for name, text := range a.Endpoints {
		path := join("aws.endpoints", name)
		if !slices.Contains(services, name) {
			v.badKey(path, "unknown service "+quote(name), "the services are "+strings.Join(services, ", "))
			continue
		}
		u := v.endpoint(path, text, []string{"https", "http"}, true)
		if u != nil && u.Scheme == "http" && name != "imds" && !loopback(u.Hostname()) {
			v.warn(path, "http:// leaves answers unprotected on the way", "use https://")
		}
	}
}

func loopback(name string) bool {
	return name == "localhost" || strings.HasPrefix(name, "127.") || name == "::1"
}
