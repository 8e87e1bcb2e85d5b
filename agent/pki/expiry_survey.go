package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"rekindle/agent/apply"
)

// Files is what Survey needs of a machine: apply's Host has it.
type Files interface {
	Look(path string) (apply.Entry, error)
	Read(path string) ([]byte, error)
	List(path string) ([]string, error)
}

// maxDepth bounds the walk below a directory.
const maxDepth = 3

// Survey looks at every certificate in kubeadm's and the kubelet's directories, whoever wrote it.
func Survey(files Files, now time.Time) (*Expiry, error) {
	s := survey{files: files, now: now, result: &Expiry{}}
	for _, look := range []struct {
		dir   string
		depth int
		kinds []string
	}{
		{kubernetesDir, 0, []string{".conf"}},
		{pkiDir, maxDepth, []string{".crt", ".pem", ".key"}},
		{kubeletDir, maxDepth, []string{".crt", ".pem", ".key"}},
		{joinDir, 0, []string{".crt", ".key"}},
	} {
		if err := s.walk(look.dir, look.depth, look.kinds); err != nil {
			return nil, err
		}
	}
	for _, found := range s.found {
		if err := s.authority(found); err != nil {
			return nil, err
		}
	}
	s.dropCopies()
	for _, found := range s.found {
		if err := s.leaf(found); err != nil {
			return nil, err
		}
	}
	byName := func(a, b Certificate) int { return strings.Compare(a.Name, b.Name) }
	slices.SortStableFunc(s.result.Certificates, byName)
	slices.SortStableFunc(s.result.Authorities, byName)
	return s.result, nil
}

type survey struct {
	files   Files
	now     time.Time
	found   []string
	bundles []bundle
	result  *Expiry
}

// bundle is what a file says to trust.
type bundle struct {
	path  string
	certs []*x509.Certificate
	keyed bool // the signer's key lies beside it
	copy  bool // another file says the same, and has the key
}

func (s *survey) walk(dir string, depth int, kinds []string) error {
	names, err := s.files.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		file := path.Join(dir, name)
		entry, err := s.files.Look(file)
		if err != nil {
			return err
		}
		switch {
		case entry.Kind == apply.KindDir && depth > 0:
			if err := s.walk(file, depth-1, kinds); err != nil {
				return err
			}
		case entry.Kind != apply.KindDir && entry.Kind != apply.KindOther && slices.Contains(kinds, path.Ext(name)):
			s.found = append(s.found, file)
		}
	}
	return nil
}

// read reads a file; nil is one that does not exist.
func (s *survey) read(file string) ([]byte, error) {
	data, err := s.files.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// authority takes the files that hold an authority's certificates.
func (s *survey) authority(file string) error {
	if path.Ext(file) == ".conf" || path.Ext(file) == ".key" {
		return nil
	}
	data, err := s.read(file)
	if err != nil {
		return err
	}
	certs, err := ParseCertificates(data)
	if err != nil || !certs[0].IsCA {
		return nil // a certificate of another kind, or broken: leaf says so
	}
	one := authorityOf(file, certs[0], s.now)
	key, err := s.read(strings.TrimSuffix(file, path.Ext(file)) + ".key")
	if err != nil {
		return err
	}
	s.bundles = append(s.bundles, bundle{path: file, certs: certs, keyed: key != nil})
	if key != nil { // only nodes that sign have it
		if signer, err := ParseKey(key); err != nil {
			one.State, one.Problem = Bad, err.Error()
		} else if !fits(signer, certs[0].PublicKey) {
			one.State, one.Problem = Bad, "its key does not fit it"
		}
	}
	s.result.Authorities = append(s.result.Authorities, one)
	for i, other := range certs[1:] { // in a rotation
		s.result.Authorities = append(s.result.Authorities, Certificate{
			Name: fmt.Sprintf("%s, trusted %d", one.Name, i+2), Path: file, Expires: other.NotAfter.UTC(), State: Good,
		})
	}
	return nil
}

// dropCopies leaves out files that repeat the signer of an authority whose key lies elsewhere (plan.Authority.Signer): it
// is the same authority.
func (s *survey) dropCopies() {
	for i, b := range s.bundles {
		if !b.keyed && slices.ContainsFunc(s.bundles, func(o bundle) bool { return o.keyed && slices.ContainsFunc(o.certs, b.certs[0].Equal) }) {
			s.bundles[i].copy = true
			s.result.Authorities = slices.DeleteFunc(s.result.Authorities, func(c Certificate) bool { return c.Path == b.path })
		}
	}
}

// leaf takes all other files.
func (s *survey) leaf(file string) error {
	if slices.ContainsFunc(s.bundles, func(b bundle) bool { return b.path == file }) {
		return nil
	}
	data, err := s.read(file)
	if err != nil {
		return err
	}
	var leaf Leaf
	var broken error
	switch path.Ext(file) {
	case ".conf":
		if leaf.Certificate, leaf.Key, broken = ParseKubeconfig(data); broken == nil && leaf.Certificate == nil {
			return nil // it refers to files, or to none
		}
	case ".key":
		return s.lonely(file)
	default:
		leaf.Certificate, leaf.Key, broken = split(data)
		if broken == nil && len(leaf.Certificate) == 0 && len(bytes.TrimSpace(data)) > 0 {
			return nil // a key in a .pem
		}
		if len(leaf.Key) == 0 {
			if leaf.Key, err = s.read(strings.TrimSuffix(file, path.Ext(file)) + ".key"); err != nil {
				return err
			}
		}
	}
	one := s.judge(file, leaf)
	if broken != nil {
		one.State, one.Problem = Bad, broken.Error()
	}
	s.result.Certificates = append(s.result.Certificates, one)
	return nil
}

// judge finds the authority by its signature.
func (s *survey) judge(file string, leaf Leaf) Certificate {
	authority := ""
	if certs, err := ParseCertificates(leaf.Certificate); err == nil {
		for _, b := range s.bundles {
			if !b.copy && issuerOf(certs[0], b.certs) != nil {
				leaf.Trusted, authority = b.certs, nameOf(b.path)
				break
			}
		}
	}
	one := certificateOf(file, Judge(leaf, s.now))
	one.Authority = authority
	return one
}

// lonely reports a key whose certificate is gone. Service account keys have none.
func (s *survey) lonely(file string) error {
	base := strings.TrimSuffix(file, ".key")
	for _, ext := range []string{".crt", ".pem", ".pub"} {
		if slices.Contains(s.found, base+ext) {
			return nil
		}
		if data, err := s.read(base + ext); err != nil || data != nil {
			return err
		}
	}
	s.result.Certificates = append(s.result.Certificates, certificateOf(base+".crt", Verdict{State: Bad, Why: "its key is there without it"}))
	return nil
}
