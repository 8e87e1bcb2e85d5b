package clusters

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"rekindle/agent/pki"
	"rekindle/test/lab/node"
)

// dirs are where a node has its certificates and what refers to them.
var dirs = []string{"/etc/kubernetes", "/var/lib/kubelet", "/var/lib/rekindle/pki"}

// leftover is how the agent calls a file that it has not put in place yet.
func leftover(name string) bool { return strings.HasSuffix(name, ".rekindle") }

// files calls see for each file of a node's dirs.
func files(n *node.Node, see func(path string, mode fs.FileMode, text []byte) error) error {
	for _, dir := range dirs {
		err := filepath.WalkDir(n.Path(dir), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return see(strings.TrimPrefix(path, n.Root), info.Mode().Perm(), text)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Sound says what is wrong with the files of a node, wherever its agent was stopped: none may be empty, and none with a
// key may be another user's to read. Of an agent that has ended its boot no file may be left over.
func Sound(n *node.Node, ended bool) error {
	var errs []error
	keys := 0
	err := files(n, func(path string, mode fs.FileMode, text []byte) error {
		if leftover(path) {
			if ended {
				errs = append(errs, fmt.Errorf("%s is left over", path))
			}
		} else if len(bytes.TrimSpace(text)) == 0 {
			errs = append(errs, fmt.Errorf("%s is empty", path))
		}
		if secret(text) {
			keys++
			if mode != 0o600 {
				errs = append(errs, fmt.Errorf("%s has mode %04o", path, mode))
			}
		}
		return nil
	})
	if ended && keys == 0 {
		errs = append(errs, errors.New("the node has no key"))
	}
	return errors.Join(append(errs, err)...)
}

// secret tells whether a file has a private key in it.
func secret(text []byte) bool {
	return bytes.Contains(text, []byte("PRIVATE KEY")) || bytes.Contains(text, []byte("client-key-data:"))
}

// Leaf is a certificate of a node, whose key is there and fits.
type Leaf struct {
	*x509.Certificate
	Authority string // that signs it, by its place
}

// Leaves are the certificates of a node, by path. It is an error if the key of one does not fit.
func Leaves(n *node.Node) (map[string]Leaf, error) {
	found := map[string]Leaf{}
	err := files(n, func(path string, _ fs.FileMode, text []byte) error {
		certificate, key, err := pair(n, path, text)
		if err != nil || certificate == nil {
			return err
		}
		own, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if !own.Leaf.IsCA {
			found[path] = Leaf{own.Leaf, signerOf(path)}
		}
		return nil
	})
	return found, err
}

// pair is the certificate in a file and its key, PEM; nil where the file holds none of its own.
func pair(n *node.Node, path string, text []byte) (certificate, key []byte, err error) {
	switch filepath.Ext(path) {
	case ".pem":
		return text, text, nil
	case ".conf":
		return embedded(text)
	case ".crt":
		key, err = os.ReadFile(n.Path(strings.TrimSuffix(path, ".crt") + ".key"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, nil // what to trust, where somebody else has the key
		}
		return text, key, err
	}
	return nil, nil, nil
}

// embedded is what a kubeconfig has in it.
func embedded(text []byte) (certificate, key []byte, err error) {
	var c struct {
		Users []struct {
			User struct {
				Certificate string `json:"client-certificate-data"`
				Key         string `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(text, &c); err != nil || len(c.Users) != 1 || c.Users[0].User.Certificate == "" {
		return nil, nil, err
	}
	if certificate, err = base64.StdEncoding.DecodeString(c.Users[0].User.Certificate); err == nil {
		key, err = base64.StdEncoding.DecodeString(c.Users[0].User.Key)
	}
	return certificate, key, err
}

// signerOf is the authority of a certificate, by kubeadm's layout.
func signerOf(path string) string {
	switch {
	case strings.HasPrefix(path, "/etc/kubernetes/pki/etcd/"), strings.HasSuffix(path, "/apiserver-etcd-client.crt"):
		return pki.Etcd
	case strings.HasSuffix(path, "/front-proxy-client.crt"):
		return pki.FrontProxy
	}
	return pki.Kubernetes
}

// Places are the files of each authority on a master. Minions have the first one's certificates.
var Places = map[string]struct{ Trusted, Key string }{
	pki.Kubernetes:     {"/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.key"},
	pki.Etcd:           {"/etc/kubernetes/pki/etcd/ca.crt", "/etc/kubernetes/pki/etcd/ca.key"},
	pki.FrontProxy:     {"/etc/kubernetes/pki/front-proxy-ca.crt", "/etc/kubernetes/pki/front-proxy-ca.key"},
	pki.ServiceAccount: {"/etc/kubernetes/pki/sa.pub", "/etc/kubernetes/pki/sa.key"},
}

// Held is an authority as a master has it on its disk.
func Held(n *node.Node, name string) (*pki.Authority, error) {
	trusted, err := os.ReadFile(n.Path(Places[name].Trusted))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(n.Path(Places[name].Key))
	if err != nil {
		return nil, err
	}
	a, err := pki.Parse(name, trusted, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.ID, err)
	}
	return a, nil
}
