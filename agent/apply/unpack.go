package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/status"
)

// stageDir is where an archive is unpacked: below its target, so that its files can be renamed into place.
const stageDir = ".rekindle-unpack"

// unpackAll extracts archives beside their targets, several at once: decompression is what a boot with a warm cache
// spends most of its time on.
func (a *pass) unpackAll(ctx context.Context, archives []*placement) error {
	if a.dry || len(archives) == 0 {
		return nil
	}
	if a.Unpack == nil {
		return fmt.Errorf("%s: nothing here unpacks archives", archives[0].Object)
	}
	stages := make([]string, len(archives))
	for i, p := range archives {
		var err error
		if stages[i], err = a.stage(p.Path); err != nil {
			return err
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range archives {
		group.Go(func() error { return a.unpack(groupCtx, p, stages[i]) })
	}
	err := group.Wait()
	if err != nil {
		for _, p := range archives {
			err = errors.Join(err, a.unstage(p.Path))
		}
	}
	return err
}

func (a *pass) unpack(ctx context.Context, p *placement, stage string) (err error) {
	ctx, span := status.Step(ctx, "unpack "+p.Object)
	defer func() { span.Done(err) }()
	ctx, done := waiting(ctx, a.limit.Assets, "assets: unpack "+p.Object, p.Path)
	defer done()
	if err := a.Unpack(ctx, p.source, stage); err != nil {
		return fmt.Errorf("%s: %w", p.Object, err)
	}
	return nil
}

// stage makes the empty directory below dir that an archive is extracted to, and says where it really is.
func (a *pass) stage(dir string) (string, error) {
	if err := a.unstage(dir); err != nil {
		return "", err
	}
	stage := path.Join(dir, stageDir)
	if err := a.Host.Mkdir(stage, 0o700); err != nil {
		return "", err
	}
	return a.Host.Path(stage)
}

// take says which files of an archive that was extracted are to be moved into place. What the archive held before and
// holds no longer becomes nobody's, and is removed with the rest of that.
func (a *pass) take(ctx context.Context, p *placement, changes map[string]Change) ([]File, error) {
	changes[p.Path] = Change{Kind: "asset", Name: p.Path, Action: "unpack", Detail: p.Object, Drift: p.drift}
	if a.dry {
		return nil, nil
	}
	entries := map[string]ownedEntry{}
	if err := a.list(path.Join(p.Path, stageDir), "", entries); err != nil {
		return nil, err
	}
	return a.claim(ctx, p, entries)
}

// claim records an archive's entries, makes its directories and returns its files.
func (a *pass) claim(ctx context.Context, p *placement, entries map[string]ownedEntry) ([]File, error) {
	for name, entry := range a.old.Assets[p.Path].Entries {
		if _, ok := entries[name]; !ok {
			a.orphans[path.Join(p.Path, name)] = entry
		}
	}
	all := maps.Clone(a.old.Assets[p.Path].Entries)
	if all == nil {
		all = map[string]ownedEntry{}
	}
	maps.Copy(all, entries)
	a.rec.Assets[p.Path] = ownedAsset{Archive: true, Mode: p.Mode, Entries: all} // without a digest it is not in place
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	a.unpacking[p.Path] = ownedAsset{SHA256: p.sum, Archive: true, Mode: p.Mode, Entries: entries}
	var files []File
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		entry, to := entries[name], path.Join(p.Path, name)
		if entry.Kind != KindDir {
			real, err := a.Host.Path(path.Join(p.Path, stageDir))
			if err != nil {
				return nil, err
			}
			files = append(files, File{Path: to, Mode: entry.Mode, From: path.Join(real, name), Move: true, Later: true})
			continue
		}
		is, err := a.Host.Look(to)
		switch {
		case err != nil:
			return nil, err
		case is.Kind == KindNone:
			err = a.Host.Mkdir(to, entry.Mode)
		case is.Kind != KindDir:
			err = fmt.Errorf("%s: a %s stands where a directory belongs (move it away: mv %[1]s %[1]s.aside)", to, is.Kind)
		case is.Mode != entry.Mode:
			err = a.Host.Chmod(to, entry.Mode)
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// list collects what is below dir.
func (a *pass) list(dir, below string, entries map[string]ownedEntry) error {
	names, err := a.Host.List(path.Join(dir, below))
	if err != nil {
		return err
	}
	for _, n := range names {
		name := path.Join(below, n)
		entry, err := a.lookEntry(path.Join(dir, name))
		if err != nil {
			return err
		}
		entry.Stamp = Stamp{} // renaming it changes it
		entries[name] = entry
		if entry.Kind == KindDir {
			if err := a.list(dir, name, entries); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookEntry is what stands at p, where a link to a directory is a link.
func (a *pass) lookEntry(p string) (ownedEntry, error) {
	is, err := a.Host.Look(p)
	entry := ownedEntry{Kind: is.Kind, Mode: is.Mode, Link: is.Link}
	switch {
	case is.Link != "":
		entry.Kind, entry.Mode = KindLink, 0
	case is.Kind == KindFile:
		entry.Stamp = is.Stamp
	}
	return entry, err
}

// unstage removes what unpack left below dir.
func (a *pass) unstage(dir string) error {
	if a.dry {
		return nil
	}
	return a.Host.RemoveAll(path.Join(dir, stageDir))
}

// unpacked tells whether everything that an archive put below dir is as it was.
func (a *pass) unpacked(dir string, owned ownedAsset) (bool, error) {
	for name, want := range owned.Entries {
		is, err := a.lookEntry(path.Join(dir, name))
		if err != nil || is != want {
			return false, err
		}
	}
	return true, nil
}
