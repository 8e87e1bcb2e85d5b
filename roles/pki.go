package roles

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What a role.yaml can name. (Packages pki and join, whose names these are, know the plan, which knows roles.)
var (
	Authorities = []string{"kubernetes", "etcd", "front-proxy", "service-account"}
	Requests    = []string{"kubelet-client", "kubelet-serving", "kube-proxy"}
	Usages      = []string{"client", "server"}
)

// KeyPair is the authority that is no CA.
const KeyPair = "service-account"

// Check says what is wrong with the entry.
func (a Authority) Check() error {
	if err := oneOf("authority", a.Name, Authorities); err != nil {
		return err
	}
	if err := checkPaths(a.Path, a.Key, a.Signer); err != nil {
		return err
	}
	switch {
	case a.Signer != "" && a.Name == KeyPair:
		return errors.New("signer: a key pair has no certificate: remove it")
	case a.Signer != "" && a.Key == "":
		return errors.New("signer: the certificate of a key that the node does not hold: add key, or remove it")
	}
	return nil
}

// Check says what is wrong with the entry. Its texts may be templates, or rendered.
func (c Cert) Check() error {
	if err := checkPaths(c.Path, c.Key); err != nil {
		return err
	}
	if c.CommonName == "" {
		return errors.New("no commonName: say whose certificate it is")
	}
	if err := oneOf("authority", c.Authority, Authorities); err != nil {
		return err
	}
	if c.Authority == KeyPair {
		return fmt.Errorf("authority %s is a key pair and signs no certificates: use another", c.Authority)
	}
	if err := c.checkUsages(); err != nil {
		return err
	}
	if c.Kubeconfig != "" && c.Key != "" {
		return errors.New("kubeconfig: it holds the key as well: remove key")
	}
	if c.Join == "" {
		return nil
	}
	if c.Authority != "kubernetes" {
		return fmt.Errorf("join: masters sign with authority kubernetes only, not %s: remove it", c.Authority)
	}
	return oneOf("join", c.Join, Requests)
}

func (c Cert) checkUsages() error {
	if len(c.Usages) == 0 {
		return errors.New("no usages: add client, server or both")
	}
	for i, usage := range c.Usages {
		if err := oneOf("usage", usage, Usages); err != nil {
			return err
		}
		if slices.Contains(c.Usages[:i], usage) {
			return fmt.Errorf("usage %s: given twice: keep one", usage)
		}
	}
	switch {
	case slices.Contains(c.Usages, "server") && len(c.Names) == 0:
		return errors.New("a server's certificate needs names: add those that clients use")
	case c.Kubeconfig != "" && !slices.Contains(c.Usages, "client"):
		return errors.New("kubeconfig: only a client's certificate can be in one: add usage client")
	}
	return nil
}

// checkPaths wants the first path, and the others if they are there, each only once.
func checkPaths(names ...string) error {
	for i, name := range names {
		if name == "" && i > 0 {
			continue
		}
		if err := CheckPath(name); err != nil {
			return err
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%s would hold two things: choose another path", name)
		}
	}
	return nil
}

func oneOf(what, name string, known []string) error {
	if slices.Contains(known, name) {
		return nil
	}
	return fmt.Errorf("%s %q is not known: use %s", what, name, strings.Join(known, " or "))
}
