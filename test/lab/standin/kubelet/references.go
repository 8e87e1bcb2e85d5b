package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	kubeletv1 "k8s.io/kubelet/config/v1"
	"sigs.k8s.io/yaml"

	"rekindle/test/lab/standin/root"
)

// kubeconfig is client-go's Config, version v1, as far as nodes use it.
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Preferences    map[string]any `json:"preferences"`
	CurrentContext string         `json:"current-context"`
	Clusters       []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server                string `json:"server"`
			TLSServerName         string `json:"tls-server-name"`
			InsecureSkipTLSVerify bool   `json:"insecure-skip-tls-verify"`
			CA                    string `json:"certificate-authority"`
			CAData                []byte `json:"certificate-authority-data"`
			ProxyURL              string `json:"proxy-url"`
			DisableCompression    bool   `json:"disable-compression"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			ClientCertificate     string         `json:"client-certificate"`
			ClientCertificateData []byte         `json:"client-certificate-data"`
			ClientKey             string         `json:"client-key"`
			ClientKeyData         []byte         `json:"client-key-data"`
			Token                 string         `json:"token"`
			TokenFile             string         `json:"tokenFile"`
			Exec                  map[string]any `json:"exec"`
		} `json:"user"`
	} `json:"users"`
	Contexts []kubeContext `json:"contexts"`
}

type kubeContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster   string `json:"cluster"`
		User      string `json:"user"`
		Namespace string `json:"namespace"`
	} `json:"context"`
}

// checkKubeconfigs wants the kubeconfig, or the bootstrap kubeconfig while there is none yet.
func checkKubeconfigs(flags *kubeletFlags) error {
	path := flags.value("kubeconfig")
	if path == "" {
		say("no --kubeconfig: standalone")
		return nil
	}
	bootstrap := flags.value("bootstrap-kubeconfig")
	if _, err := os.Stat(root.Path(path)); errors.Is(err, fs.ErrNotExist) && bootstrap != "" {
		path = bootstrap
	}
	server, err := checkKubeconfig(path)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	say("API server %s, from %s", server, path)
	return nil
}

func checkKubeconfig(path string) (server string, err error) {
	data, err := os.ReadFile(root.Path(path))
	if err != nil {
		return "", err
	}
	var c kubeconfig
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return "", err
	}
	if c.APIVersion != "v1" || c.Kind != "Config" {
		return "", fmt.Errorf("%s %q is no v1 Config", c.APIVersion, c.Kind)
	}
	i := slices.IndexFunc(c.Contexts, func(x kubeContext) bool { return x.Name == c.CurrentContext })
	if i < 0 {
		return "", fmt.Errorf("current-context %q: no such context", c.CurrentContext)
	}
	for _, cluster := range c.Clusters {
		if cluster.Name == c.Contexts[i].Context.Cluster {
			server = cluster.Cluster.Server
		}
	}
	if server == "" {
		return "", fmt.Errorf("context %s: cluster %q has no server", c.CurrentContext, c.Contexts[i].Context.Cluster)
	}
	for _, u := range c.Users {
		if u.Name != c.Contexts[i].Context.User || u.User.ClientCertificate == "" {
			continue
		}
		if _, err := (pair{u.User.ClientCertificate, u.User.ClientKey}).load(); err != nil {
			return "", fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	return server, nil
}

// checkCredentialProviders wants each provider that the configuration names in the directory of the flag.
func checkCredentialProviders(flags *kubeletFlags) error {
	path, dir := flags.value("image-credential-provider-config"), flags.value("image-credential-provider-bin-dir")
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(root.Path(path))
	if err != nil {
		return fmt.Errorf("image credential providers: %w", err)
	}
	var c kubeletv1.CredentialProviderConfig
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return fmt.Errorf("image credential providers %s: %w", path, err)
	}
	if c.APIVersion != "kubelet.config.k8s.io/v1" || c.Kind != "CredentialProviderConfig" {
		return fmt.Errorf("image credential providers %s: %s %q", path, c.APIVersion, c.Kind)
	}
	for _, p := range c.Providers {
		if _, err := os.Stat(filepath.Join(root.Path(dir), p.Name)); err != nil {
			return fmt.Errorf("image credential providers: %w", err)
		}
	}
	return nil
}
