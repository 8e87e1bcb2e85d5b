package pki

import (
	"bytes"
	"fmt"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
)

// The modes of files: what is public, and what holds a key.
const (
	publicMode plan.Mode = 0o644
	secretMode plan.Mode = 0o600
)

// files are all of the plan's authorities and certificates. What is not new is byte for byte what lies on the disk.
func (b *batch) files() ([]apply.Held, error) {
	var all []apply.Held
	add := func(path string, mode plan.Mode, content []byte, why string) {
		all = append(all, apply.Held{File: apply.File{Path: path, Mode: mode, Content: content}, Why: why})
	}
	for _, name := range Names {
		a := b.authorities[name]
		if a == nil {
			continue
		}
		certs, key, err := a.content()
		if err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
		add(a.want.Path, publicMode, certs, a.why(a.certPEM, certs))
		if a.want.Key != "" {
			add(a.want.Key, secretMode, key, a.why(a.keyPEM, key))
		}
		if a.want.Signer != "" {
			signer := a.signer()
			add(a.want.Signer, publicMode, signer, a.why(a.signerPEM, signer))
		}
	}
	for _, leaf := range b.leaves {
		content, key, why := []byte(nil), []byte(nil), leaf.verdict.Why
		if !b.dry || leaf.verdict.State == Good {
			var err error
			if content, why, err = leaf.content(b.file); err != nil {
				return nil, fmt.Errorf("pki: certificate %s: %w", leaf.Path, err)
			}
			key = leaf.Leaf.Key
		}
		if leaf.Cert.Key == "" {
			add(leaf.Path, secretMode, content, why)
			continue
		}
		add(leaf.Path, publicMode, content, why)
		add(leaf.Cert.Key, secretMode, key, why)
	}
	return all, nil
}

// content is the authority's two files; without any authority, nothing.
func (a *heldAuthority) content() (certs, key []byte, err error) {
	if a.held == nil {
		return nil, nil, nil
	}
	certs = a.held.CertificatePEM()
	if a.want.Key != "" && a.held.Key != nil {
		key, err = a.held.KeyPEM()
	}
	return certs, key, err
}

// signer is the certificate that belongs to the key, alone.
func (a *heldAuthority) signer() []byte {
	if a.held == nil || len(a.held.Certificates) == 0 {
		return nil
	}
	return leafPEM(a.held.Certificates[0])
}

// content is the certificate's file, and why it is new.
func (l *heldLeaf) content(read func(path string) ([]byte, error)) (content []byte, why string, err error) {
	switch {
	case l.Cert.Key != "":
		return l.Certificate, l.why, nil
	case l.Kubeconfig == "" && l.why != "":
		return append(bytes.Clone(l.Certificate), l.Leaf.Key...), l.why, nil
	}
	old, err := read(l.Path)
	if err != nil || l.Kubeconfig == "" {
		return old, "", err
	}
	content, err = Kubeconfig(l.Kubeconfig, l.CommonName, l.authority.held.CertificatePEM(), l.Certificate, l.Leaf.Key)
	if l.why == "" && !bytes.Equal(old, content) {
		return content, "its server, or what it trusts, changed", err
	}
	return content, l.why, err
}

// readBack makes sure that nothing new is written that the next Hold would not read.
func (b *batch) readBack(held []apply.Held) error {
	contents, fresh := map[string][]byte{}, map[string]bool{}
	for _, file := range held {
		if len(file.Content) == 0 {
			return fmt.Errorf("pki: %s: it would be empty", file.Path)
		}
		contents[file.Path], fresh[file.Path] = file.Content, file.Why != ""
	}
	read := func(path string) ([]byte, error) { return contents[path], nil }
	for _, a := range b.authorities {
		if !fresh[a.want.Path] && !fresh[a.want.Key] {
			continue
		}
		again, err := loadAuthority(a.want, read)
		if err == nil {
			err = again.broken
		}
		if err == nil {
			err = again.disk.sound()
		}
		if err != nil {
			return fmt.Errorf("pki: authority %s: read back: %w", a.want.Name, err)
		}
	}
	for _, leaf := range b.leaves {
		again := *leaf
		if !fresh[leaf.Path] {
			continue
		}
		if err := again.load(read); err != nil {
			return fmt.Errorf("pki: certificate %s: read back: %w", leaf.Path, err)
		}
		if again.verdict.State == Bad {
			return fmt.Errorf("pki: certificate %s: read back: %s", leaf.Path, again.verdict.Why)
		}
	}
	return nil
}
