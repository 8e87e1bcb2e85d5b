package pki

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// Holder brings the plan's authorities and certificates to the disk, and renews them. It is apply's Certs.
type Holder struct {
	// Source must not create an authority that lies on this node's disk: see Vault.Evidence.
	Source Source
	Join   Joiner // nil on nodes that sign everything themselves
	// Read reads a file of the node; fs.ErrNotExist says that there is none.
	Read func(path string) ([]byte, error)
	// Instance makes nodes renew at different times.
	Instance  string
	Algorithm string        // of new keys, one of Algorithms; empty is ECDSA-P256
	Limit     time.Duration // for a wait that the node cannot do without: its authorities, a first certificate
	Logger    *slog.Logger  // may be nil
	// Seen, unless nil, is told what the node holds, after each Hold that is not dry and succeeds.
	Seen func([]status.Authority, []status.Certificate)
}

var _ apply.Certs = (*Holder)(nil)

// defaultLimit is that of a Holder without one. Every wait has a deadline.
const defaultLimit = 15 * time.Minute

// maxWait bounds what the node can do without for now: a renewal, or to look whether an authority that lies on the disk
// is still the store's. The next resync tries again.
const maxWait = time.Minute

// Hold returns every file of the plan's authorities and certificates (see apply.Certs).
func (h *Holder) Hold(ctx context.Context, p *plan.Plan, dry bool) ([]apply.Held, []string, error) {
	b := batch{Holder: h, dry: dry, log: h.Logger, authorities: map[string]*heldAuthority{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	err := b.fetch(ctx, p.Authorities)
	if err == nil {
		err = b.look(p.Certs)
	}
	if err == nil && !dry {
		err = errors.Join(b.sign(), b.join(ctx))
	}
	if err != nil {
		return nil, b.warnings, err
	}
	held, err := b.files()
	if err == nil && !dry {
		err = b.readBack(held)
	}
	if err != nil {
		return nil, b.warnings, err
	}
	if h.Seen != nil && !dry {
		h.Seen(b.seen())
	}
	return held, b.warnings, nil
}

// batch is one Hold.
type batch struct {
	*Holder
	dry bool
	log *slog.Logger

	authorities map[string]*heldAuthority
	leaves      []*heldLeaf
	warnings    []string
}

// warn adds what the engine logs and shows.
func (b *batch) warn(text string) { b.warnings = append(b.warnings, text) }

func (h *Holder) limit() time.Duration {
	if h.Limit > 0 {
		return h.Limit
	}
	return defaultLimit
}

// file reads a file; nil is one that does not exist, and an empty path names none.
func (h *Holder) file(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	data, err := h.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case data == nil: // an empty file is not the same as none
		return []byte{}, nil
	}
	return data, nil
}

// seen is what the node holds now.
func (b *batch) seen() (authorities []status.Authority, certificates []status.Certificate) {
	for _, name := range Names {
		a := b.authorities[name]
		if a == nil {
			continue
		}
		one := status.Authority{Name: name, Fingerprint: a.held.Fingerprint(), Rotating: len(a.held.Certificates)+len(a.held.Keys) > 1}
		if name != ServiceAccount {
			one.NotAfter = a.held.Certificates[0].NotAfter.UTC()
		}
		authorities = append(authorities, one)
	}
	for _, leaf := range b.leaves {
		one := status.Certificate{
			Path: leaf.Path, CommonName: leaf.CommonName, Authority: leaf.Authority,
			NotAfter: leaf.verdict.Certificate.NotAfter.UTC(), RenewAfter: leaf.verdict.Renew.UTC(), By: status.BySelf,
		}
		if leaf.Cert.Join != "" {
			one.By = status.ByJoin
		}
		certificates = append(certificates, one)
	}
	return authorities, certificates
}
