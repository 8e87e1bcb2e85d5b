package pki

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// heldAuthority is one of the plan's authorities on its way to the disk.
type heldAuthority struct {
	want plan.Authority
	// What lies on the disk: the bytes, nil where there is no file; what they say, nil if that is nothing; and what is
	// broken about them.
	certPEM, keyPEM, signerPEM []byte
	disk                       *Authority
	broken                     error

	held    *Authority // what is to be; nil in a dry run without any on the disk
	warning string
}

// fetch brings all authorities, each in its own time.
func (b *batch) fetch(ctx context.Context, wanted []plan.Authority) error {
	all := make([]*heldAuthority, len(wanted))
	group, ctx := errgroup.WithContext(ctx)
	for i, want := range wanted {
		group.Go(func() error {
			a, err := loadAuthority(want, b.file)
			switch {
			case err != nil:
			case b.dry:
				a.held = a.disk
			default:
				err = b.ask(ctx, a)
			}
			if err != nil {
				return fmt.Errorf("pki: %w", err)
			}
			all[i] = a
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, a := range all {
		b.authorities[a.want.Name] = a
		if a.warning != "" {
			b.warn(a.warning)
		}
	}
	return nil
}

// loadAuthority reads an authority's files.
func loadAuthority(want plan.Authority, read func(path string) ([]byte, error)) (a *heldAuthority, err error) {
	a = &heldAuthority{want: want}
	for _, file := range []struct {
		path string
		into *[]byte
	}{{want.Path, &a.certPEM}, {want.Key, &a.keyPEM}, {want.Signer, &a.signerPEM}} {
		if file.path == "" {
			continue
		}
		if *file.into, err = read(file.path); err != nil {
			return nil, fmt.Errorf("authority %s: %w", want.Name, err)
		}
	}
	found := &Authority{Name: want.Name}
	if want.Name == ServiceAccount {
		found.Keys, err = ParsePublicKeys(a.certPEM)
	} else {
		found.Certificates, err = ParseCertificates(a.certPEM)
	}
	if err != nil {
		a.broken = err
		return a, nil
	}
	a.disk = found
	if want.Key != "" {
		found.Key, a.broken = ParseKey(a.keyPEM)
	}
	return a, nil
}

// ask has the source say what the authority is. While the source cannot be read, what lies on the disk serves on.
func (b *batch) ask(ctx context.Context, a *heldAuthority) error {
	limit, alone := b.limit(), a.alone()
	if alone == nil {
		limit = min(limit, maxWait)
	}
	name := "pki: " + a.want.Name
	asking, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: nothing after %s: %w", name, limit, context.DeadlineExceeded))
	defer cancel()
	wait := status.WaitingOn(asking, name, "the authority, from the store")
	defer wait.Done()
	fresh, err := b.read(asking, a, wait)
	switch {
	case err == nil:
		return a.take(fresh)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case alone != nil:
		return fmt.Errorf("authority %s: %w", a.want.Name, err)
	}
	a.held = a.disk
	a.warning = fmt.Sprintf("authority %s: %v; what lies on this node's disk serves on", a.want.Name, err)
	return nil
}

// alone says why what lies on the disk would not do without the store.
func (a *heldAuthority) alone() error {
	if a.broken != nil {
		return a.broken
	}
	return a.disk.Check(time.Now())
}

// read asks until there is an answer. A node that only trusts waits for the first master to create the authority.
func (b *batch) read(ctx context.Context, a *heldAuthority, wait *status.Ongoing) (*Authority, error) {
	if a.want.Key != "" {
		return b.Source.Private(ctx, a.want.Name)
	}
	for pause := time.Second; ; pause = min(2*pause, 8*time.Second) {
		fresh, err := b.Source.Public(ctx, a.want.Name)
		if !errors.Is(err, ErrAbsent) || a.disk != nil { // it was there once
			return fresh, err
		}
		wait.Update(err.Error())
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return nil, status.Fail(status.ReasonPKIBlocked, "a master creates it: read there what `rekindle status` says",
				fmt.Errorf("%w: %w", err, context.Cause(ctx)))
		}
	}
}

// take accepts what the source says, unless that would make a master another cluster's: a rotation leaves one certificate
// that both know, or in the record the fingerprint of the one on the disk. A node that only trusts follows, and says so.
func (a *heldAuthority) take(fresh *Authority) error {
	if a.want.Key != "" && fresh.Key == nil {
		return fmt.Errorf("authority %s: it came without its key", a.want.Name)
	}
	if err := fresh.sound(); err != nil {
		return fmt.Errorf("authority %s: %w", a.want.Name, err)
	}
	if a.disk != nil && !related(a.disk, fresh) && !slices.Contains(fresh.Retired, a.disk.Fingerprint()) {
		err := fmt.Errorf("authority %s: the store has another one (%.16s) than %s (%.16s)",
			a.want.Name, fresh.Fingerprint(), a.want.Path, a.disk.Fingerprint())
		if a.want.Key != "" {
			return status.Fail(status.ReasonPKIBlocked, "correct `store`, or put the cluster's authority back; if it was replaced by "+
				"hand, move "+a.want.Path+" away", err)
		}
		a.warning = err.Error() + ": the store's is taken"
	}
	a.held = fresh
	return nil
}

// related tells whether two views of an authority have a certificate or a public key in common.
func related(a, b *Authority) bool {
	for _, cert := range a.Certificates {
		if slices.ContainsFunc(b.Certificates, cert.Equal) {
			return true
		}
	}
	for _, key := range a.Keys {
		own, ok := key.(interface{ Equal(crypto.PublicKey) bool })
		if ok && slices.ContainsFunc(b.Keys, own.Equal) {
			return true
		}
	}
	return false
}

// why says why a file is new; empty when it is what lies on the disk.
func (a *heldAuthority) why(disk, fresh []byte) string {
	switch {
	case disk == nil:
		return "none yet"
	case len(bytes.TrimSpace(disk)) == 0:
		return "its file is empty"
	case bytes.Equal(disk, fresh):
		return ""
	case a.broken != nil:
		return "its file is damaged"
	}
	return "the cluster's differs"
}
