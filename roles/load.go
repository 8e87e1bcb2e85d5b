package roles

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Load reads a role with all that it extends, and the overlay over each of them: an overlay's file replaces or adds to
// the built-in one of the same path, and its role.yaml is merged by key. overlay may be nil. All mistakes are reported
// at once.
func Load(builtin, overlay fs.FS, name string) (Role, error) {
	l := &loader{layers: layers(builtin, overlay)}
	known, err := List(builtin, overlay)
	if err != nil {
		return Role{}, fmt.Errorf("roles: %w", err)
	}
	if !slices.Contains(known, name) {
		return Role{}, fmt.Errorf("role %q is not known, only %s: correct the tag or the configuration, "+
			"or add roles/%s/role.yaml to the store", name, strings.Join(known, ", "), name)
	}
	l.load(name, nil)
	if len(l.errs) > 0 {
		return Role{}, fmt.Errorf("role %s: %w", name, errors.Join(l.errs...))
	}
	role := Role{Name: name, Labels: map[string]string{}}
	for _, p := range l.parts {
		l.errs = append(l.errs, role.merge(p)...)
	}
	if err := errors.Join(append(l.errs, role.check()...)...); err != nil {
		return Role{}, fmt.Errorf("role %s: %w", name, err)
	}
	role.Extends = l.order[:len(l.order)-1]
	role.Digest = digest(l.parts)
	slices.SortFunc(role.Dirs, func(a, b Dir) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(role.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return role, nil
}

// List names the roles that a node can have, in order. A role whose role.yaml is broken is among them: loading it says
// what is wrong.
func List(builtin, overlay fs.FS) ([]string, error) {
	var names, abstract []string
	for _, l := range layers(builtin, overlay) {
		entries, err := fs.ReadDir(l.fs, ".")
		if errors.Is(err, fs.ErrNotExist) {
			continue // a store without an overlay
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		for _, e := range entries {
			if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if m, _, err := l.manifest(e.Name()); err == nil && m.Abstract {
				abstract = append(abstract, e.Name())
			}
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return slices.Contains(abstract, n) }), nil
}

func layers(builtin, overlay fs.FS) []layer {
	all := []layer{{"roles", builtin}}
	if overlay != nil {
		all = append(all, layer{"overlay", overlay})
	}
	return all
}

type loader struct {
	layers []layer
	order  []string // roles, in the order in which they were taken in
	parts  []part
	errs   []error
}

// load takes in what a role extends, then the role itself: first the built-in one, then its overlay. A role that is
// reached twice counts once.
func (l *loader) load(name string, by []string) {
	if slices.Contains(by, name) {
		l.errs = append(l.errs, fmt.Errorf("roles extend each other in a circle: %s", strings.Join(append(by, name), " -> ")))
		return
	}
	if slices.Contains(l.order, name) {
		return
	}
	var parts []part
	found := false
	for _, layer := range l.layers {
		m, ok, err := layer.manifest(name)
		if err != nil {
			l.errs = append(l.errs, err)
		}
		found = found || ok || err != nil
		files, err := layer.files(name)
		if err != nil {
			l.errs = append(l.errs, err)
		}
		partials, err := layer.partials(name)
		if err != nil {
			l.errs = append(l.errs, err)
		}
		parts = append(parts, part{role: name, layer: layer.name, manifest: m, files: files, partials: partials})
	}
	if !found {
		who := "role " + name
		if len(by) > 0 {
			who += ", which " + by[len(by)-1] + " extends,"
		}
		l.errs = append(l.errs, fmt.Errorf("%s has no role.yaml: add it, or remove the role", who))
		return
	}
	for _, p := range parts {
		for _, parent := range p.manifest.Extends {
			l.load(parent, append(slices.Clone(by), name))
		}
	}
	l.order = append(l.order, name)
	l.parts = append(l.parts, parts...)
}
