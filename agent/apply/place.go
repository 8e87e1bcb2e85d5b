package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// work is what place has to do.
type work struct {
	hosts    bool              // lines of the hosts file
	changes  map[string]Change // by path
	files    []File            // in the order in which they are renamed
	archives []*placement
}

// place puts assets, certificates and files in place: everything is staged before the first name changes, so that a
// full disk or an archive that does not unpack leaves the machine as it was.
func (a *pass) place(ctx context.Context) error {
	w, err := a.compareAll(ctx)
	if err != nil {
		return err
	}
	if err := a.takeTurn(ctx, w); err != nil {
		return err
	}
	if a.old.Cut && !a.dry { // temporary files of the apply that was cut
		if err := a.Host.Sweep(slices.Sorted(maps.Keys(a.rec.paths()))...); err != nil {
			return err
		}
	}
	if w.hosts || len(w.changes)+len(w.archives) > 0 {
		if err := a.put(ctx, w); err != nil {
			return err
		}
	}
	if a.Placed != nil && !a.dry {
		a.Placed()
	}
	return nil
}

// compareAll finds what has to be done, and notes in the record what is going to be owned.
func (a *pass) compareAll(ctx context.Context) (w *work, err error) {
	w = &work{changes: map[string]Change{}}
	if w.hosts, err = a.lookHosts(); err != nil {
		return nil, err
	}
	compared := func(p string, change *Change, err error) error {
		if err != nil {
			return err
		}
		f := a.want[p]
		a.rec.Files[p] = ownedFile{SHA256: hexSum(f.Content), Mode: f.Mode}
		if change == nil {
			return nil
		}
		w.changes[p] = *change
		if change.Action == "chmod" {
			return nil
		}
		w.files = append(w.files, f)
		a.changed[p], err = a.restarts(f)
		return err
	}
	for _, f := range certFiles(a.plan) { // before what reads them
		change, err := a.compareCert(ctx, f)
		if err := compared(f.path, change, err); err != nil {
			return nil, err
		}
	}
	for _, p := range slices.Sorted(maps.Keys(a.want)) {
		if _, ok := a.held[p]; ok {
			continue
		}
		change, err := a.compare(a.want[p])
		if err := compared(p, change, err); err != nil {
			return nil, err
		}
	}
	a.compareAssets(w)
	return w, nil
}

// compareAssets adds the assets, which were looked at before they were fetched.
func (a *pass) compareAssets(w *work) {
	for _, p := range a.placing {
		switch {
		case p.Unpack:
			w.archives = append(w.archives, p)
			a.changed[p.Path] = true
			a.rec.Assets[p.Path] = ownedAsset{Archive: true, Mode: p.Mode, Entries: a.old.Assets[p.Path].Entries}
			continue
		case p.chmod:
			w.changes[p.Path] = Change{Kind: "asset", Name: p.Path, Action: "chmod", Detail: fmt.Sprintf("to %04o", p.Mode), Drift: p.drift}
			a.rec.Assets[p.Path] = ownedAsset{SHA256: p.sum, Mode: p.Mode} // chmod changes the stamp
			continue
		}
		change := Change{Kind: "asset", Name: p.Path, Action: "create", Detail: p.Object, Drift: p.drift}
		if p.exists {
			change.Action = "update"
		}
		w.changes[p.Path] = change
		w.files = append(w.files, File{Path: p.Path, Mode: p.Mode, From: p.source, Later: true})
		a.changed[p.Path] = true
		a.rec.Assets[p.Path] = ownedAsset{SHA256: p.sum, Mode: p.Mode}
	}
}

// put does the work.
func (a *pass) put(ctx context.Context, w *work) error {
	a.forget()
	if err := a.begin(ctx); err != nil {
		return err
	}
	if w.hosts {
		if err := a.placeHosts(ctx); err != nil {
			return err
		}
	}
	if err := a.unpackAll(ctx, w.archives); err != nil {
		return err
	}
	files := w.files
	for _, p := range w.archives {
		moved, err := a.take(ctx, p, w.changes)
		if err != nil {
			return err
		}
		files = append(files, moved...)
	}
	if err := a.carryOut(ctx, files, w.changes); err != nil {
		return err
	}
	for _, p := range w.archives {
		if err := a.unstage(p.Path); err != nil {
			return err
		}
	}
	return nil
}

// carryOut writes, and reports what it wrote even if not all could be.
func (a *pass) carryOut(ctx context.Context, files []File, changes map[string]Change) error {
	var written []string
	var err error
	if a.dry {
		for _, f := range files {
			written = append(written, f.Path)
		}
	} else {
		written, err = a.Host.Write(ctx, files...)
	}
	for _, p := range slices.Sorted(slices.Values(written)) {
		if change, ok := changes[p]; ok {
			a.did(change)
		}
	}
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(changes)) {
		change := changes[p]
		switch change.Action {
		case "chmod":
			mode := a.want[p].Mode
			if change.Kind == "asset" {
				mode = a.rec.Assets[p].Mode
			}
			if !a.dry {
				if err := a.Host.Chmod(p, mode); err != nil {
					return err
				}
			}
			a.did(change)
		case "unpack":
			a.did(change)
		}
	}
	return nil
}

// compare is how a file differs from what it should be; nil when it does not.
func (a *pass) compare(f File) (*Change, error) {
	owned, known := a.old.Files[f.Path]
	change := &Change{Kind: "file", Name: f.Path, Action: "update"}
	change.Drift = known && !a.old.Cut && owned.Mode == f.Mode && owned.SHA256 == hexSum(f.Content)
	entry, err := a.Host.Look(f.Path)
	if err != nil {
		return nil, err
	}
	switch entry.Kind {
	case KindNone:
		change.Action = "create"
		return change, nil
	case KindFile:
	default:
		change.Detail = "replaces a " + entry.Kind
		return change, nil
	}
	if entry.Stamp.Size == int64(len(f.Content)) {
		content, err := a.Host.Read(f.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && bytes.Equal(content, f.Content) {
			if entry.Mode == f.Mode {
				return nil, nil
			}
			change.Action, change.Detail = "chmod", fmt.Sprintf("%04o to %04o", entry.Mode, f.Mode)
			return change, nil
		}
	}
	return change, nil
}
