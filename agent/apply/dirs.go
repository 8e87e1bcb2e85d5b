package apply

import (
	"context"
	"fmt"

	"rekindle/agent/plan"
)

type dirChange struct {
	path   string
	mode   plan.Mode
	create bool
	drift  bool
	detail string
}

// lookDirs finds the directories that are missing or have another mode: those of the plan, and those above any path.
func (a *pass) lookDirs() error {
	planned := map[string]plan.Mode{}
	paths := []string{}
	add := func(p string) {
		for _, dir := range above(p) {
			if !a.needed[dir] {
				a.needed[dir] = true
				paths = append(paths, dir)
			}
		}
	}
	dir := func(p string, mode plan.Mode) {
		add(p + "/.")
		if mode != 0 {
			planned[p] = mode
		}
	}
	for _, d := range a.plan.Dirs {
		dir(d.Path, d.Mode)
	}
	for _, asset := range a.plan.Assets {
		if asset.Unpack {
			dir(asset.Path, asset.Mode)
		} else {
			add(asset.Path)
		}
	}
	for _, m := range a.plan.Etcd {
		add(m.ConfigPath)
	}
	for _, f := range certFiles(a.plan) {
		add(f.path)
	}
	for _, f := range a.plan.Files {
		add(f.Path)
	}
	var errs problems
	for _, p := range paths {
		entry, err := a.Host.Look(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := a.lookDir(p, planned[p], entry); err != nil {
			errs = append(errs, err)
		}
	}
	return errs.err()
}

// lookDir compares one directory; a mode of zero says that any will do.
func (a *pass) lookDir(p string, mode plan.Mode, entry Entry) error {
	owned, known := a.rec.Dirs[p]
	change := dirChange{path: p, mode: mode, drift: known && !a.old.Cut && owned.Mode == mode}
	switch entry.Kind {
	case KindNone:
		change.create = true
		a.makeDirs = append(a.makeDirs, change)
		owned.Made = true
	case KindDir:
		if mode != 0 && entry.Mode != mode {
			change.detail = fmt.Sprintf("%04o to %04o", entry.Mode, mode)
			a.makeDirs = append(a.makeDirs, change)
		}
	default:
		return fmt.Errorf("%s: a %s stands where a directory belongs (move it away: mv %[1]s %[1]s.aside)", p, entry.Kind)
	}
	if mode != 0 || owned.Made {
		a.rec.Dirs[p] = ownedDir{Mode: mode, Made: owned.Made}
	}
	return nil
}

func (a *pass) dirs(ctx context.Context) error {
	if len(a.makeDirs) == 0 {
		return nil
	}
	if err := a.begin(ctx); err != nil {
		return err
	}
	for _, d := range a.makeDirs {
		mode := d.mode
		if mode == 0 {
			mode = 0o755
		}
		action := "chmod"
		if d.create {
			action = "create"
		}
		if !a.dry {
			var err error
			if d.create {
				err = a.Host.Mkdir(d.path, mode)
			} else {
				err = a.Host.Chmod(d.path, mode)
			}
			if err != nil {
				return err
			}
		}
		a.did(Change{Kind: "dir", Name: d.path, Action: action, Detail: d.detail, Drift: d.drift})
	}
	return nil
}
