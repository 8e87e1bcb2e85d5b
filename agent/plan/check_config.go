package plan

import (
	"fmt"
	"slices"
	"strings"
)

// kubeconfig is a client's configuration as this agent writes it. client-go's type would bring 15 MB with it; of what a
// kubeconfig can hold, this has the part that belongs on a node, and none that could hold a secret.
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	CurrentContext string         `json:"current-context"`
	Preferences    map[string]any `json:"preferences,omitempty"`
	Clusters       []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server               string `json:"server"`
			CertificateAuthority string `json:"certificate-authority"`
			TLSServerName        string `json:"tls-server-name,omitempty"`
		} `json:"cluster"`
	} `json:"clusters"`
	Contexts []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster   string `json:"cluster"`
			User      string `json:"user"`
			Namespace string `json:"namespace,omitempty"`
		} `json:"context"`
	} `json:"contexts"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			ClientCertificate string         `json:"client-certificate,omitempty"`
			ClientKey         string         `json:"client-key,omitempty"`
			TokenFile         string         `json:"tokenFile,omitempty"`
			Exec              map[string]any `json:"exec,omitempty"`
		} `json:"user"`
	} `json:"users"`
}

// check follows the names: the current context must lead to a cluster and a user.
func (k *kubeconfig) check() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	found := false
	for _, c := range k.Contexts {
		found = found || c.Name == k.CurrentContext
		cluster, user := false, false
		for _, x := range k.Clusters {
			cluster = cluster || x.Name == c.Context.Cluster
		}
		for _, x := range k.Users {
			user = user || x.Name == c.Context.User
		}
		if !cluster {
			bad("context %s names cluster %q, which is not there", c.Name, c.Context.Cluster)
		}
		if !user {
			bad("context %s names user %q, which is not there", c.Name, c.Context.User)
		}
	}
	if !found {
		bad("current-context %q is not there", k.CurrentContext)
	}
	return errs
}

// auditPolicy is audit.k8s.io/v1 Policy, whose Go type lives in the API server's module.
type auditPolicy struct {
	APIVersion        string         `json:"apiVersion"`
	Kind              string         `json:"kind"`
	Metadata          map[string]any `json:"metadata,omitempty"`
	OmitManagedFields bool           `json:"omitManagedFields,omitempty"`
	OmitStages        []string       `json:"omitStages,omitempty"`
	Rules             []auditRule    `json:"rules"`
}

type auditRule struct {
	Level             string   `json:"level"`
	Users             []string `json:"users,omitempty"`
	UserGroups        []string `json:"userGroups,omitempty"`
	Verbs             []string `json:"verbs,omitempty"`
	Namespaces        []string `json:"namespaces,omitempty"`
	NonResourceURLs   []string `json:"nonResourceURLs,omitempty"`
	OmitStages        []string `json:"omitStages,omitempty"`
	OmitManagedFields *bool    `json:"omitManagedFields,omitempty"`
	Resources         []struct {
		Group         string   `json:"group"`
		Resources     []string `json:"resources,omitempty"`
		ResourceNames []string `json:"resourceNames,omitempty"`
	} `json:"resources,omitempty"`
}

// authenticationConfig is apiserver.config.k8s.io/v1 AuthenticationConfiguration, whose Go type lives in the API server's
// module.
type authenticationConfig struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	JWT        []map[string]any `json:"jwt,omitempty"`
	Anonymous  *struct {
		Enabled    bool `json:"enabled"`
		Conditions []struct {
			Path string `json:"path"`
		} `json:"conditions,omitempty"`
	} `json:"anonymous,omitempty"`
}

func (c *authenticationConfig) check() (errs []error) {
	if c.Anonymous == nil {
		return nil
	}
	for i, condition := range c.Anonymous.Conditions {
		if !strings.HasPrefix(condition.Path, "/") {
			errs = append(errs, fmt.Errorf("anonymous.conditions[%d].path %q: begin it with /", i, condition.Path))
		}
	}
	if !c.Anonymous.Enabled && len(c.Anonymous.Conditions) > 0 {
		errs = append(errs, fmt.Errorf("anonymous.conditions: the API server refuses them unless anonymous.enabled is true"))
	}
	return errs
}

var auditLevels = []string{"None", "Metadata", "Request", "RequestResponse"}

func (p *auditPolicy) check() (errs []error) {
	for i, r := range p.Rules {
		if !slices.Contains(auditLevels, r.Level) {
			errs = append(errs, fmt.Errorf("rules[%d].level %q: use one of %v", i, r.Level, auditLevels))
		}
	}
	if len(p.Rules) == 0 {
		errs = append(errs, fmt.Errorf("rules is empty: the API server refuses such a policy"))
	}
	return errs
}
