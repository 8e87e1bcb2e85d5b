package pki

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"rekindle/agent/config"
	"rekindle/agent/status"
)

// Brought is the authorities that the operator keeps elsewhere, over another source for the rest.
type Brought struct {
	Refs map[string]config.AuthorityRefs
	Read func(ctx context.Context, ref string) ([]byte, error)
	Next Source
}

// Private implements Source. What was brought is never created, and never written to the store.
func (b *Brought) Private(ctx context.Context, name string) (*Authority, error) {
	refs, ok := b.Refs[name]
	if !ok {
		return b.Next.Private(ctx, name)
	}
	a, err := b.read(ctx, name, refs, true)
	if err != nil {
		return nil, fmt.Errorf("pki.authorities.%s: %w", name, err)
	}
	return a, nil
}

// Public implements Source.
func (b *Brought) Public(ctx context.Context, name string) (*Authority, error) {
	refs, ok := b.Refs[name]
	if !ok {
		return b.Next.Public(ctx, name)
	}
	a, err := b.read(ctx, name, refs, false)
	if err != nil {
		return nil, fmt.Errorf("pki.authorities.%s: %w", name, err)
	}
	return a, nil
}

func (b *Brought) read(ctx context.Context, name string, refs config.AuthorityRefs, private bool) (*Authority, error) {
	if err := known(name); err != nil {
		return nil, err
	}
	trusted, key, err := b.fetch(ctx, refs, private)
	if err != nil {
		return nil, err
	}
	a, err := assemble(name, trusted, key)
	if err == nil {
		err = expiry(a)
	}
	return a, blocked("correct what the reference points to", err)
}

// fetch reads what the references point to; what is not referred to is nil.
func (b *Brought) fetch(ctx context.Context, refs config.AuthorityRefs, private bool) (trusted, key []byte, err error) {
	if refs.Certificate != "" {
		if trusted, err = b.Read(ctx, string(refs.Certificate)); err != nil {
			return nil, nil, err
		}
	}
	if !private {
		if refs.Certificate == "" {
			return nil, nil, blocked("set `certificate` beside it", errors.New("no certificate is referred to, and only masters read the key"))
		}
		return trusted, nil, nil
	}
	if refs.Key == "" {
		return nil, nil, blocked("set `key` beside it", errors.New("no key is referred to, and masters need it to sign"))
	}
	key, err = b.Read(ctx, string(refs.Key))
	return trusted, key, err
}

// assemble makes an authority of its parts, PEM. trusted may be nil for ServiceAccount, whose public key follows from the
// private one, and key where the node only trusts. The generation that the key belongs to comes first, whatever the order
// of the file was.
func assemble(name string, trusted, key []byte) (*Authority, error) {
	a := &Authority{Name: name}
	var err error
	if key != nil {
		if a.Key, err = ParseKey(key); err != nil {
			return nil, err
		}
	}
	switch {
	case name != ServiceAccount:
		a.Certificates, err = ParseCertificates(trusted)
	case len(bytes.TrimSpace(trusted)) > 0:
		a.Keys, err = ParsePublicKeys(trusted)
	}
	if err != nil {
		return nil, err
	}
	a.order()
	return a, a.sound()
}

// order puts what belongs to the key first. Where nothing does, sound says so.
func (a *Authority) order() {
	if a.Key == nil {
		return
	}
	if a.Name == ServiceAccount {
		own := a.Key.Public()
		a.Keys = slices.DeleteFunc(a.Keys, func(k crypto.PublicKey) bool { return fits(a.Key, k) })
		a.Keys = slices.Insert(a.Keys, 0, own)
		return
	}
	for i, certificate := range a.Certificates {
		if fits(a.Key, certificate.PublicKey) {
			a.Certificates = slices.Insert(slices.Delete(a.Certificates, i, i+1), 0, certificate)
			return
		}
	}
}

// blocked gives an error the reason PKIBlocked, unless it has one.
func blocked(hint string, err error) error {
	if _, ok := errors.AsType[*status.Error](err); ok {
		return err
	}
	return status.Fail(status.ReasonPKIBlocked, hint, err)
}
