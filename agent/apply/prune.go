package apply

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"rekindle/agent/plan"
)

// retire stops the units that an earlier plan brought and this one does not. A unit whose file is not ours, or stays,
// is left as it is. The files of a unit that cannot be stopped are kept: the next apply tries again.
func (a *pass) retire(ctx context.Context) (keep map[string]bool, err error) {
	keep = map[string]bool{}
	var errs problems
	for _, name := range slices.Sorted(maps.Keys(a.rec.Units)) {
		if slices.ContainsFunc(a.plan.Units, func(u plan.Unit) bool { return u.Name == name }) {
			continue
		}
		file := a.rec.Units[name].Path
		if _, stays := a.want[file]; file != "" && !stays {
			if err := a.stopped(ctx, name, "not in the plan any more"); err != nil {
				errs = append(errs, err)
				for p := range a.rec.Files {
					if defines(p, name) {
						keep[p] = true
					}
				}
				continue
			}
		}
		delete(a.rec.Units, name)
	}
	return keep, errs.err()
}

// prune removes what earlier plans own and this one does not.
func (a *pass) prune(ctx context.Context, keep map[string]bool) error {
	for name := range a.rec.Etcd {
		if !slices.ContainsFunc(a.plan.Etcd, func(m plan.Etcd) bool { return m.Name == name }) {
			delete(a.rec.Etcd, name)
		}
	}
	gone := a.dropped(keep)
	if len(gone) == 0 {
		return nil
	}
	if err := a.begin(ctx); err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(gone)) {
		if asset := a.rec.Assets[p]; asset.Archive {
			if err := a.unstage(p); err != nil {
				return err
			}
		}
	}
	paths := slices.SortedFunc(maps.Keys(gone), func(p, q string) int { return strings.Compare(q, p) }) // what is below comes first
	for _, p := range paths {
		if err := a.drop(ctx, p, gone[p]); err != nil {
			return err
		}
		delete(a.rec.Files, p)
		delete(a.rec.Assets, p)
		delete(a.rec.Dirs, p)
	}
	return nil
}

// dropped is what is owned and not wanted, by path, with what it was.
func (a *pass) dropped(keep map[string]bool) map[string]ownedEntry {
	gone := maps.Clone(a.orphans)
	wanted := func(p string) bool { return a.needed[p] || keep[p] }
	for p := range a.rec.Files {
		if _, ok := a.want[p]; !ok && !wanted(p) {
			gone[p] = ownedEntry{Kind: KindFile}
		}
	}
	assets := map[string]bool{}
	for _, asset := range a.plan.Assets {
		assets[asset.Path] = true
	}
	for p, asset := range a.rec.Assets {
		if assets[p] {
			continue
		}
		gone[p] = ownedEntry{Kind: KindFile}
		if asset.Archive {
			gone[p] = ownedEntry{Kind: KindDir}
			if !a.rec.Dirs[p].Made {
				gone[p] = ownedEntry{} // only what is below it
			}
		}
		for name, entry := range asset.Entries {
			gone[path.Join(p, name)] = entry
		}
	}
	for p, dir := range a.rec.Dirs {
		if wanted(p) {
			continue
		}
		gone[p] = ownedEntry{}
		if dir.Made {
			gone[p] = ownedEntry{Kind: KindDir}
		}
	}
	for p := range gone { // a file that is an asset now, an entry that came back in another archive
		if _, ok := a.want[p]; ok || assets[p] || a.provided(p) {
			delete(gone, p)
			if !assets[p] {
				delete(a.rec.Assets, p)
			}
			if _, ok := a.want[p]; !ok {
				delete(a.rec.Files, p)
			}
		}
	}
	return gone
}

// provided tells whether an archive of the plan brings p.
func (a *pass) provided(p string) bool {
	for _, asset := range a.plan.Assets {
		if name, ok := strings.CutPrefix(p, asset.Path+"/"); ok && asset.Unpack {
			now, ok := a.unpacking[asset.Path]
			if !ok {
				now = a.rec.Assets[asset.Path]
			}
			if _, ok := now.Entries[name]; ok {
				return true
			}
		}
	}
	return false
}

// drop removes one path, unless it has become something else than what we put there.
func (a *pass) drop(ctx context.Context, p string, was ownedEntry) error {
	is, err := a.Host.Look(p)
	if err != nil {
		return err
	}
	dir := is.Kind == KindDir && is.Link == ""
	switch {
	case is.Kind == KindNone, dir && !is.Empty, was.Kind == "" && dir, was.Kind == KindDir && !dir:
		return nil
	case was.Kind != "" && was.Kind != KindDir && dir:
		a.warn(fmt.Sprintf("%s: not in the plan any more, but a directory stands there now: it stays", p))
		return nil
	}
	change := Change{Kind: "file", Name: p, Action: "remove", Detail: "not in the plan any more"}
	if dir {
		change.Kind = "dir"
	}
	if owned, ok := a.rec.Files[p]; ok && is.Kind == KindFile && !a.old.Cut {
		if sum, err := a.Host.Sum(ctx, p); err != nil {
			return err
		} else if sum != owned.SHA256 {
			change.Detail += "; somebody had edited it"
		}
	}
	if !a.dry {
		if err := a.Host.Remove(p); err != nil {
			return err
		}
	}
	a.changed[p] = true
	a.did(change)
	return nil
}
