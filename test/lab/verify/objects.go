package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	kubeletv1 "k8s.io/kubelet/config/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// kinds are the objects whose Go types are at hand, by "apiVersion kind".
var kinds = map[string]func() any{
	"v1 Pod":    func() any { return new(corev1.Pod) },
	"v1 Config": func() any { return new(kubeconfig) },
	"kubelet.config.k8s.io/v1beta1 KubeletConfiguration": func() any { return new(kubeletv1beta1.KubeletConfiguration) },
	"kubelet.config.k8s.io/v1 CredentialProviderConfig":  func() any { return new(kubeletv1.CredentialProviderConfig) },
}

// kubeconfig is strict about its frame and lets users authenticate by any means.
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Preferences    map[string]any `json:"preferences"`
	CurrentContext string         `json:"current-context"`
	Clusters       []struct {
		Name    string         `json:"name"`
		Cluster map[string]any `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string         `json:"name"`
		User map[string]any `json:"user"`
	} `json:"users"`
	Contexts []struct {
		Name    string            `json:"name"`
		Context map[string]string `json:"context"`
	} `json:"contexts"`
}

// objects decodes every Kubernetes object in the trees, strictly. Each node must have some.
func (s *Suite) objects(context.Context) (string, error) {
	counts := map[string]int{}
	var errs []error
	for _, n := range s.Region.Nodes() {
		before := total(counts)
		for _, dir := range []string{"/etc/kubernetes", "/var/lib/kubelet", "/etc/rekindle"} {
			errs = append(errs, decodeTree(n.Path(dir), counts))
		}
		if total(counts) == before && runsKubelet(n, s) {
			errs = append(errs, fmt.Errorf("%s: no Kubernetes object in its tree", n.ID))
		}
	}
	var saw []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		saw = append(saw, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(saw, ", "), errors.Join(errs...)
}

func total(counts map[string]int) int {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

func decodeTree(dir string, counts map[string]int) error {
	var errs []error
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		kind, err := decode(data)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
		if kind != "" {
			counts[kind]++
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// decode returns the kind of a Kubernetes object, or nothing for what is none.
func decode(data []byte) (string, error) {
	var meta struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(data, &meta); err != nil || meta.Kind == "" {
		return "", nil //nolint:nilerr // no YAML, or no object
	}
	object, ok := kinds[meta.APIVersion+" "+meta.Kind]
	if !ok {
		return meta.Kind + " (not checked)", nil
	}
	if err := yaml.UnmarshalStrict(data, object()); err != nil {
		return meta.Kind, err
	}
	return meta.Kind, nil
}
