package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
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
