package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "k8s.io/api/core/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"rekindle/test/lab/standin/root"
)

const configurationVersion = "kubelet.config.k8s.io/v1beta1"

// readConfiguration decodes the configuration and lays the drop-ins over it in the order of their names, as the kubelet
// does: files that end in .conf, each a KubeletConfiguration of its own.
func readConfiguration(path, dropInDir string) (*kubelet.KubeletConfiguration, error) {
	c := &kubelet.KubeletConfiguration{}
	if path != "" {
		if err := overlay(c, path); err != nil {
			return nil, err
		}
	}
	if dropInDir == "" {
		return c, nil
	}
	found, err := filepath.Glob(filepath.Join(root.Path(dropInDir), "*.conf"))
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	for _, f := range found {
		if err := overlay(c, f); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// overlay decodes a file over c: objects merge, lists and scalars replace.
func overlay(c *kubelet.KubeletConfiguration, path string) error {
	data, err := os.ReadFile(root.Path(path))
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	c.APIVersion, c.Kind = "", ""
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	if c.APIVersion != configurationVersion || c.Kind != "KubeletConfiguration" {
		return fmt.Errorf("configuration %s: %s %q is no %s KubeletConfiguration", path, c.APIVersion, c.Kind, configurationVersion)
	}
	return nil
}

// readStaticPods decodes the manifests.
func readStaticPods(dir string) ([]*v1.Pod, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(root.Path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the kubelet says so in its log and goes on
	}
	if err != nil {
		return nil, err
	}
	var pods []*v1.Pod
	for _, e := range entries {
		if e.Name()[0] == '.' || e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(root.Path(path))
		if err != nil {
			return nil, err
		}
		var pod v1.Pod
		if err := yaml.UnmarshalStrict(data, &pod); err != nil {
			return nil, fmt.Errorf("static pod %s: %w", path, err)
		}
		if pod.APIVersion != "v1" || pod.Kind != "Pod" || pod.Name == "" || len(pod.Spec.Containers) == 0 {
			return nil, fmt.Errorf("static pod %s: no v1 Pod with a name and containers", path)
		}
		pods = append(pods, &pod)
	}
	return pods, nil
}

// checkFiles looks for the files that the kubelet reads at its start because its configuration names them.
func checkFiles(c *kubelet.KubeletConfiguration) error {
	if c.ResolverConfig != nil && *c.ResolverConfig != "" {
		if _, err := os.Stat(root.Path(*c.ResolverConfig)); err != nil {
			return fmt.Errorf("resolvConf: %w", err)
		}
	}
	for _, path := range []string{c.Authentication.X509.ClientCAFile, c.TLSCertFile, c.TLSPrivateKeyFile} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(root.Path(path)); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	return nil
}
