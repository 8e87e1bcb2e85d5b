package pki

import (
	"bytes"
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"
)

// kubeconfig is the part of client-go's kubeconfig (k8s.io/client-go/tools/clientcmd/api/v1) that is written here: one
// cluster, one user and their context, under the names that kubeadm gives them.
type kubeconfig struct {
	APIVersion     string              `json:"apiVersion"`
	Kind           string              `json:"kind"`
	Clusters       []kubeconfigCluster `json:"clusters"`
	Users          []kubeconfigUser    `json:"users"`
	Contexts       []kubeconfigContext `json:"contexts"`
	CurrentContext string              `json:"current-context"`
}

type kubeconfigCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data,omitempty"`
	} `json:"cluster"`
}

type kubeconfigUser struct {
	Name string `json:"name"`
	User struct {
		Certificate []byte `json:"client-certificate-data,omitempty"`
		Key         []byte `json:"client-key-data,omitempty"`
	} `json:"user"`
}

type kubeconfigContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// clusterName is what kubeadm calls every cluster.
const clusterName = "kubernetes"

// Kubeconfig is a kubeconfig that embeds a certificate, its key and what to trust, PEM. The same input gives the same
// bytes. It is what kubeadm writes, so that its check-expiration reads it (cmd/kubeadm/app/util/kubeconfig).
func Kubeconfig(server, user string, ca, certificate, key []byte) ([]byte, error) {
	k := kubeconfig{
		APIVersion: "v1", Kind: "Config",
		Clusters: make([]kubeconfigCluster, 1), Users: make([]kubeconfigUser, 1), Contexts: make([]kubeconfigContext, 1),
		CurrentContext: user + "@" + clusterName,
	}
	k.Clusters[0].Name, k.Clusters[0].Cluster.Server, k.Clusters[0].Cluster.CA = clusterName, server, ca
	k.Users[0].Name, k.Users[0].User.Certificate, k.Users[0].User.Key = user, certificate, key
	k.Contexts[0].Name, k.Contexts[0].Context.Cluster, k.Contexts[0].Context.User = k.CurrentContext, clusterName, user
	return yaml.Marshal(k)
}

// ParseKubeconfig reads the certificate and the key of the current context's user, PEM. Either is nil when it is not
// embedded. No error holds any of the file, which holds a key.
func ParseKubeconfig(data []byte) (certificate, key []byte, err error) {
	if len(data) > maxPEM {
		return nil, nil, fmt.Errorf("kubeconfig: %d bytes: more than %d are not read", len(data), maxPEM)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil, errors.New("kubeconfig: its file is empty")
	}
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		return nil, nil, errors.New("kubeconfig: it cannot be parsed") // the parser's words quote the file
	}
	for _, context := range k.Contexts {
		if context.Name != k.CurrentContext {
			continue
		}
		for _, user := range k.Users {
			if user.Name == context.Context.User {
				return user.User.Certificate, user.User.Key, nil
			}
		}
	}
	return nil, nil, errors.New("kubeconfig: no user of its current context")
}
