package plan

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yamlnode "go.yaml.in/yaml/v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kubeletv1 "k8s.io/kubelet/config/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decoders are the types that a plan's objects are read into. To check another kind: add it here.
var decoders = map[metav1.TypeMeta]func() any{
	{APIVersion: "v1", Kind: "Pod"}:                                                 func() any { return &corev1.Pod{} },
	{APIVersion: "v1", Kind: "Config"}:                                              func() any { return &kubeconfig{} },
	{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration"}:     func() any { return &kubeletv1beta1.KubeletConfiguration{} },
	{APIVersion: "kubelet.config.k8s.io/v1", Kind: "CredentialProviderConfig"}:      func() any { return &kubeletv1.CredentialProviderConfig{} },
	{APIVersion: "apiserver.config.k8s.io/v1", Kind: "AuthenticationConfiguration"}: func() any { return &authenticationConfig{} },
	{APIVersion: "audit.k8s.io/v1", Kind: "Policy"}:                                 func() any { return &auditPolicy{} },
}

// checkObject decodes a document strictly by its apiVersion and kind; one of an unknown kind only has to be YAML.
func checkObject(text string) []error {
	_, errs := decode(text)
	return errs
}

// decode reads a document: unknown, duplicate and wrong-case fields are errors, all of them, with their lines.
func decode(text string) (any, []error) {
	doc, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, []error{fmt.Errorf("no sound YAML: %w", err)}
	}
	var meta metav1.TypeMeta
	if err := json.UnmarshalCaseSensitivePreserveInts(doc, &meta); err != nil {
		return nil, []error{fmt.Errorf("no object: %w", err)}
	}
	empty, known := decoders[meta]
	if !known {
		return nil, misspelt(meta)
	}
	var node yamlnode.Node
	if err := yamlnode.Load([]byte(text), &node); err != nil {
		return nil, []error{fmt.Errorf("%s: only one YAML document is read: %w", meta.Kind, err)}
	}
	object := empty()
	strict, err := json.UnmarshalStrict(doc, object)
	var errs []error
	for _, err := range append(strict, err) {
		if err != nil {
			errs = append(errs, fieldError(text, meta.Kind, err))
		}
	}
	if len(errs) > 0 {
		return object, errs
	}
	switch o := object.(type) {
	case *kubeconfig:
		errs = o.check()
	case *auditPolicy:
		errs = o.check()
	case *authenticationConfig:
		errs = o.check()
	case *kubeletv1beta1.KubeletConfiguration:
		errs = checkKubelet(o)
	case *kubeletv1.CredentialProviderConfig:
		errs = checkProviders(o)
	}
	return object, errs
}

// misspelt refuses an unknown kind of a group of which some are known: it would not be checked, and not be read.
func misspelt(meta metav1.TypeMeta) []error {
	group, _, grouped := strings.Cut(meta.APIVersion, "/")
	var all []string
	for t := range decoders {
		if strings.HasPrefix(t.APIVersion, group+"/") && grouped {
			all = append(all, t.Kind+" of "+t.APIVersion)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return []error{fmt.Errorf("%s of %s is not known: use %s", meta.Kind, meta.APIVersion, strings.Join(all, " or "))}
}

var fieldPath = regexp.MustCompile(`"([^"]+)"`)

// fieldError adds the line of the field that a strict decoder complains of.
func fieldError(text, kind string, err error) error {
	if m := fieldPath.FindStringSubmatch(err.Error()); m != nil {
		if line := lineOfField(text, m[1]); line > 0 {
			return fmt.Errorf("line %d: %s: %w", line, kind, err)
		}
	}
	return fmt.Errorf("%s: %w", kind, err)
}

// lineOfField finds "spec.containers[0].image" in a document; 0 when it is not there.
func lineOfField(text, field string) int {
	var doc yamlnode.Node
	if yamlnode.Load([]byte(text), &doc) != nil || len(doc.Content) == 0 {
		return 0
	}
	node, line := doc.Content[0], 0
	for _, step := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		next := (*yamlnode.Node)(nil)
		if n, err := strconv.Atoi(step); err == nil && node.Kind == yamlnode.SequenceNode && n < len(node.Content) {
			next, line = node.Content[n], node.Content[n].Line
		}
		for i := 0; node.Kind == yamlnode.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				next, line = node.Content[i+1], node.Content[i].Line
			}
		}
		if next == nil {
			return line
		}
		node = next
	}
	return line
}

// checkStaticPod reads a pod as the kubelet does, which refuses references to the API.
func checkStaticPod(text string) []error {
	object, errs := decode(text)
	if len(errs) > 0 {
		return errs
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return []error{errors.New("is no v1 Pod: the kubelet would ignore it")}
	}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(validation.IsDNS1123Subdomain(pod.Name)) > 0 {
		bad("metadata.name %q is no name: use lower-case letters, digits and dashes", pod.Name)
	}
	if pod.Spec.ServiceAccountName != "" {
		bad("spec.serviceAccountName: a static pod can have no service account: use a kubeconfig from the host")
	}
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
		if v.Secret != nil || v.ConfigMap != nil || v.Projected != nil || v.PersistentVolumeClaim != nil {
			bad("volume %s: a static pod cannot refer to an object of the API: use a hostPath", v.Name)
		}
	}
	if len(pod.Spec.Containers) == 0 {
		bad("spec.containers is empty")
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.Name == "" || c.Image == "" {
			bad("container %q: name and image must be set", c.Name)
		}
		for _, mount := range c.VolumeMounts {
			if !volumes[mount.Name] {
				bad("container %s mounts %s, which is no volume of the pod", c.Name, mount.Name)
			}
		}
	}
	return errs
}

// checkKubelet finds what the kubelet's own validation would stop at, as far as an operator is likely to meet it.
func checkKubelet(k *kubeletv1beta1.KubeletConfiguration) (errs []error) {
	if k.CgroupDriver != "" && k.CgroupDriver != "systemd" && k.CgroupDriver != "cgroupfs" {
		errs = append(errs, fmt.Errorf("cgroupDriver %q: use systemd", k.CgroupDriver))
	}
	if k.ShutdownGracePeriodCriticalPods.Duration > k.ShutdownGracePeriod.Duration && k.ShutdownGracePeriod.Duration > 0 {
		errs = append(errs, errors.New("shutdownGracePeriodCriticalPods is longer than shutdownGracePeriod, of which it is a part"))
	}
	if k.ReadOnlyPort != 0 {
		errs = append(errs, fmt.Errorf("readOnlyPort %d serves the node's pods to anyone: use the authenticated port", k.ReadOnlyPort))
	}
	return errs
}

// checkProviders finds what the kubelet stops at.
func checkProviders(c *kubeletv1.CredentialProviderConfig) (errs []error) {
	for i, p := range c.Providers {
		switch {
		case p.Name == "" || strings.ContainsAny(p.Name, "/ "):
			errs = append(errs, fmt.Errorf("providers[%d].name %q: use the name of a binary", i, p.Name))
		case len(p.MatchImages) == 0:
			errs = append(errs, fmt.Errorf("providers[%d].matchImages is empty: the provider would never be asked", i))
		case p.DefaultCacheDuration == nil:
			errs = append(errs, fmt.Errorf("providers[%d].defaultCacheDuration must be set, 12h for instance", i))
		case p.APIVersion != "credentialprovider.kubelet.k8s.io/v1":
			errs = append(errs, fmt.Errorf("providers[%d].apiVersion %q: use credentialprovider.kubelet.k8s.io/v1", i, p.APIVersion))
		}
	}
	return errs
}

const kubeletDropIns = "/etc/kubernetes/kubelet.conf.d"

// checkDropIn reads a drop-in of the kubelet's configuration, which loads files that end in .conf and no others.
func checkDropIn(name, text string) []error {
	object, errs := decode(text)
	if _, ok := object.(*kubeletv1beta1.KubeletConfiguration); !ok && len(errs) == 0 {
		return []error{errors.New("is no kubelet.config.k8s.io/v1beta1 KubeletConfiguration: the kubelet would not start with it")}
	}
	if !strings.HasSuffix(name, ".conf") {
		errs = append(errs, errors.New("does not end in .conf: the kubelet would ignore it"))
	}
	return errs
}
