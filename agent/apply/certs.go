package apply

import (
	"context"
	"errors"
	"fmt"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// certFile is one file of the plan's authorities and certificates.
type certFile struct {
	path   string
	who    string
	leaf   bool // of a certificate, not of an authority
	secret bool // it holds a private key
}

// certFiles are the files of the plan's authorities and certificates, in the order in which they are put in place.
// What to trust comes before what it signed: a program that is shown a certificate of a new authority finds that
// authority on the disk. Of a pair the key comes first: the public half is what programs watch, and who is woken by a
// new certificate finds its key beside it. A cut between the two leaves a pair that does not match, which Hold replaces.
func certFiles(p *plan.Plan) []certFile {
	var files []certFile
	for _, authority := range p.Authorities {
		who := "authority " + authority.Name
		if authority.Key != "" {
			files = append(files, certFile{path: authority.Key, who: who, secret: true})
		}
		if authority.Signer != "" {
			files = append(files, certFile{path: authority.Signer, who: who})
		}
		files = append(files, certFile{path: authority.Path, who: who})
	}
	for _, cert := range p.Certs {
		who := "certificate " + cert.Path
		if cert.Key != "" {
			files = append(files, certFile{path: cert.Key, who: who, leaf: true, secret: true})
		}
		files = append(files, certFile{path: cert.Path, who: who, leaf: true, secret: cert.Key == ""})
	}
	return files
}

// holdCerts has every authority and certificate issued, or found good. What it returns is in the order of certFiles.
func (a *pass) holdCerts(ctx context.Context) (held []Held, warnings []string, err error) {
	if a.Certs == nil {
		return nil, nil, errors.New("certs: nothing here holds certificates")
	}
	ctx, done := waiting(ctx, a.limit.Join, "certs: hold", "the authorities, and whoever signs this node's certificates")
	defer done()
	all, warnings, err := a.Certs.Hold(ctx, a.plan, a.dry)
	if err != nil {
		return nil, nil, err
	}
	byPath := map[string]Held{}
	for _, h := range all {
		byPath[h.Path] = h
	}
	var errs problems
	for _, f := range certFiles(a.plan) {
		h, ok := byPath[f.path]
		delete(byPath, f.path)
		if f.secret && h.Mode == 0 {
			h.Mode = 0o600
		}
		switch {
		case !ok: // it would be taken for a file that the plan dropped, and a key removed
			errs = append(errs, fmt.Errorf("%s: nobody holds %s", f.who, f.path))
		case len(h.Content) == 0 && !a.dry:
			errs = append(errs, fmt.Errorf("%s: %s would be empty", f.who, f.path))
		case f.secret && h.Mode&0o077 != 0:
			errs = append(errs, fmt.Errorf("%s: %s would be readable by others than its owner (mode %04o)", f.who, f.path, h.Mode))
		}
		held = append(held, h)
	}
	for p := range byPath {
		errs = append(errs, fmt.Errorf("%s: held, and not in the plan", p))
	}
	return held, warnings, status.Fail(status.ReasonPKIBlocked, "", errs.err())
}

// toBeIssued stands for the digest of a file that only an apply would issue.
const toBeIssued = "to be issued"

// takeCerts makes files of the plan of what is held.
func (a *pass) takeCerts(held []Held, warnings []string) {
	for _, h := range held {
		a.held[h.Path] = h
		if a.wants(h.Path, h.Mode, h.Content); h.Content == nil {
			a.sums[h.Path] = toBeIssued
		}
	}
	for _, warning := range warnings {
		a.warn(warning)
	}
}

// compareCert is how a file of an authority or certificate differs from what it should be; nil when it does not.
func (a *pass) compareCert(ctx context.Context, file certFile) (*Change, error) {
	h := a.held[file.path]
	change, err := a.compare(a.want[file.path])
	if h.Content == nil && change == nil && err == nil {
		change = &Change{Action: "update", Name: file.path} // an empty file stands where it belongs
	}
	if change == nil || err != nil {
		return nil, err
	}
	change.Kind = "cert"
	if change.Action == "chmod" {
		return change, nil
	}
	if change.Drift, err = a.meddled(ctx, file.path); err != nil {
		return nil, err
	}
	if h.Why != "" {
		change.Detail = h.Why
		if file.leaf && change.Action == "update" {
			change.Action = "renew"
		}
	}
	if h.Content == nil {
		change.Detail = "would issue: " + h.Why
	}
	return change, nil
}

// meddled tells whether a file is not the one that the last apply left. Of a file that is issued anew the plan does not
// tell: what it asked for has changed by itself.
func (a *pass) meddled(ctx context.Context, path string) (bool, error) {
	owned, known := a.old.Files[path]
	if !known || a.old.Cut {
		return false, nil
	}
	entry, err := a.Host.Look(path)
	if err != nil || entry.Kind != KindFile {
		return true, err
	}
	sum, err := a.Host.Sum(ctx, path)
	return sum != owned.SHA256, err
}
