package pki

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"rekindle/agent/plan"
)

// heldLeaf is one of the plan's certificates on its way to the disk.
type heldLeaf struct {
	plan.Cert
	Leaf
	authority *heldAuthority
	verdict   Verdict
	why       string // the certificate is new
}

// look judges what lies on the disk.
func (b *batch) look(wanted []plan.Cert) error {
	for _, want := range wanted {
		spec, err := SpecOf(want)
		if err != nil {
			return fmt.Errorf("pki: %w", err)
		}
		leaf := &heldLeaf{Cert: want, authority: b.authorities[want.Authority]}
		if leaf.authority == nil {
			return fmt.Errorf("pki: certificate %s: this node does not hold authority %q", want.Path, want.Authority)
		}
		leaf.Spec, leaf.Seed = spec, b.Instance+" "+want.Path
		b.leaves = append(b.leaves, leaf)
		if leaf.authority.held == nil { // only in a dry run
			leaf.verdict = Verdict{State: Bad, Why: "its authority is not here yet"}
			continue
		}
		leaf.Trusted = leaf.authority.held.Certificates
		if err := leaf.load(b.file); err != nil {
			return fmt.Errorf("pki: certificate %s: %w", want.Path, err)
		}
	}
	return nil
}

// load reads the files that hold the certificate and its key, and judges them.
func (l *heldLeaf) load(read func(path string) ([]byte, error)) error {
	data, err := read(l.Path)
	if err != nil {
		return err
	}
	var broken error
	switch {
	case l.Cert.Key != "":
		l.Certificate = data
		l.Leaf.Key, err = read(l.Cert.Key)
	case data == nil:
	case l.Kubeconfig != "":
		l.Certificate, l.Leaf.Key, broken = ParseKubeconfig(data)
		if broken == nil && (l.Certificate == nil || l.Leaf.Key == nil) {
			broken = errors.New("kubeconfig: it embeds no certificate, or no key")
		}
	default:
		l.Certificate, l.Leaf.Key, broken = split(data)
	}
	if err != nil {
		return err
	}
	l.verdict = Judge(l.Leaf, time.Now())
	if broken != nil {
		l.verdict = Verdict{State: Bad, Why: broken.Error()}
	}
	return nil
}

// fresh makes a key for a new certificate: no key is used for two.
func (b *batch) fresh(leaf *heldLeaf) (crypto.Signer, error) {
	key, err := NewKey(cmp.Or(b.Algorithm, "ECDSA-P256"))
	if err != nil {
		return nil, fmt.Errorf("pki: certificate %s: %w", leaf.Path, err)
	}
	return key, nil
}

// sign issues what this node signs itself.
func (b *batch) sign() error {
	var errs []error
	for _, leaf := range b.leaves {
		if leaf.Join != "" || leaf.verdict.State == Good {
			continue
		}
		key, err := b.fresh(leaf)
		if err != nil {
			return err
		}
		cert, err := Issue(leaf.authority.held, leaf.Spec, key.Public(), time.Now())
		if err == nil {
			err = b.accept(leaf, cert, key)
		}
		if err != nil {
			errs = append(errs, b.without(leaf, err))
		}
	}
	b.warnEnding()
	return errors.Join(errs...)
}

// accept puts a new certificate in the old one's place, unless it is no better.
func (b *batch) accept(leaf *heldLeaf, cert *x509.Certificate, key crypto.Signer) error {
	private, err := keyPEM(key)
	if err != nil {
		return err
	}
	fresh := leaf.Leaf
	fresh.Certificate, fresh.Key = leafPEM(cert), private
	verdict := Judge(fresh, time.Now())
	early := time.Now().Before(cert.NotBefore)
	switch {
	case verdict.State == Bad:
		return fmt.Errorf("a new one is not what was asked for: %s", verdict.Why)
	case early && leaf.verdict.State == Due:
		return fmt.Errorf("a new one is no better: %s", verdict.Why)
	case early:
		b.warn(fmt.Sprintf("certificate %s: %s", leaf.Path, verdict.Why))
	}
	leaf.why = leaf.verdict.Why
	leaf.Leaf, leaf.verdict = fresh, verdict
	b.log.Debug("certificate issued", "path", leaf.Path, "why", leaf.why, "until", cert.NotAfter)
	return nil
}

// without is what a failed renewal means: a warning while the certificate still counts, else an error.
func (b *batch) without(leaf *heldLeaf, err error) error {
	if leaf.verdict.State == Bad {
		return fmt.Errorf("pki: certificate %s (%s): %w", leaf.Path, leaf.verdict.Why, err)
	}
	text := leaf.verdict.Why
	if !strings.HasSuffix(text, " left") {
		text += ", " + left(leaf.verdict.Certificate, time.Now())
	}
	b.warn(fmt.Sprintf("certificate %s: not renewed (%s): %v", leaf.Path, text, err))
	return nil
}

// warnEnding warns of authorities that end before a certificate's usual life is over: renewals then come more and more
// often, and end with it.
func (b *batch) warnEnding() {
	ending := map[string]bool{}
	for _, leaf := range b.leaves {
		a := leaf.authority
		if a.held.Key == nil || len(a.held.Certificates) == 0 || ending[a.want.Name] {
			continue
		}
		if ca := a.held.Certificates[0]; time.Now().Add(leaf.Spec.Life).After(ca.NotAfter) {
			ending[a.want.Name] = true
			b.warn(fmt.Sprintf("authority %s: it ends on %s, and every certificate with it: replace it: rekindle pki rotate STORE begin %[1]s",
				a.want.Name, day(ca.NotAfter)))
		}
	}
}
