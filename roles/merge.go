package roles

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"go.yaml.in/yaml/v4"
)

// merge lays a part over what the role is so far.
func (r *Role) merge(p part) []error {
	m := p.manifest
	if m.Description != "" && p.role == r.Name {
		r.Description = m.Description
	}
	if m.Etcd != "" {
		r.Etcd = m.Etcd
	}
	maps.Copy(r.Labels, m.Labels)
	for _, t := range m.Taints {
		r.Taints = slices.DeleteFunc(r.Taints, func(old Taint) bool { return old.Key == t.Key && old.Effect == t.Effect })
		r.Taints = append(r.Taints, t)
	}
	for _, f := range p.partials {
		r.Partials = slices.DeleteFunc(r.Partials, func(old File) bool { return old.Path == f.Path })
		r.Partials = append(r.Partials, f)
	}
	for _, f := range p.files {
		i := slices.IndexFunc(r.Files, func(old File) bool { return old.Path == f.Path })
		if i < 0 {
			r.Files = append(r.Files, f)
			continue
		}
		// The syntax belongs to the text; all else belongs to the path.
		f.Mode, f.When, f.Inputs, f.Exclusive = r.Files[i].Mode, r.Files[i].When, r.Files[i].Inputs, r.Files[i].Exclusive
		r.Files[i] = f
	}

	s := sheet{source: path.Join(p.layer, p.role, "role.yaml")}
	r.Dirs = merge(&s, r.Dirs, m.Dirs, func(d Dir) string { return d.Path }, placed[Dir])
	r.Assets = merge(&s, r.Assets, m.Assets, Asset.Key, placed[Asset])
	r.Authorities = merge(&s, r.Authorities, m.Authorities, func(a Authority) string { return a.Name }, placed[Authority])
	r.Certs = merge(&s, r.Certs, m.Certs, func(c Cert) string { return c.Path }, placed[Cert])
	r.Files = merge(&s, r.Files, m.Files, func(f File) string { return f.Path }, func([]File, File) (int, error) {
		return 0, fmt.Errorf("has no text: add it under %s", path.Join(p.layer, p.role, "rootfs"))
	})
	r.Units = merge(&s, r.Units, m.Units, func(u Unit) string { return u.Name }, beforeUnit)
	return s.errs
}

// check looks at the role as it came out.
func (r *Role) check() (errs []error) {
	for _, d := range r.Dirs {
		if err := CheckPath(d.Path); err != nil {
			errs = append(errs, fmt.Errorf("dir: %w", err))
		}
	}
	for _, a := range r.Assets {
		if err := CheckPath(a.Path); err != nil {
			errs = append(errs, fmt.Errorf("asset %s: %w", a.Key(), err))
		}
		if a.Object == "" {
			errs = append(errs, fmt.Errorf("asset %s: names no object: add object: <path in the store>", a.Key()))
		}
	}
	for _, f := range r.Files {
		if !slices.Contains([]string{Template, Percent, Plain}, f.Syntax) {
			errs = append(errs, fmt.Errorf("%s: syntax %q is not known: use template, percent or plain", f.Source, f.Syntax))
		}
	}
	return errs
}

// sheet collects what is wrong with one role.yaml.
type sheet struct {
	source string
	errs   []error
}

func (s *sheet) at(n *yaml.Node, err error) {
	s.errs = append(s.errs, fmt.Errorf("%s:%d:%d: %w", s.source, n.Line, n.Column, err))
}

// check has an entry checked that can be, at the place where it was last changed.
func (s *sheet) check(n *yaml.Node, name string, entry any) {
	if c, ok := entry.(checker); ok {
		if err := c.Check(); err != nil {
			s.at(n, fmt.Errorf("%s: %w", name, err))
		}
	}
}

// checker is an entry that can tell what is wrong with it, once all that is said of it has come together.
type checker interface{ Check() error }

// merge lays the entries of a role.yaml over a list: an entry with a known key changes only what it names, or with
// "remove: true" drops it; any other goes where place says.
func merge[T any](s *sheet, list []T, nodes []yaml.Node, key func(T) string, place func([]T, T) (int, error)) []T {
	list = slices.Clone(list)
	for i := range nodes {
		node := &nodes[i]
		remove, err := cutRemove(node)
		if err != nil {
			s.errs = append(s.errs, located(s.source, err))
			continue
		}
		var fresh T
		if err := node.Load(&fresh, yaml.WithKnownFields()); err != nil {
			s.errs = append(s.errs, located(s.source, err))
			continue
		}
		name := key(fresh)
		if name == "" {
			s.at(node, fmt.Errorf("an entry without a name or path"))
			continue
		}
		at := slices.IndexFunc(list, func(old T) bool { return key(old) == name })
		switch {
		case remove && at < 0:
			s.at(node, fmt.Errorf("removes %s, which is not there: drop the entry", name))
		case remove:
			list = slices.Delete(list, at, at+1)
		case at >= 0:
			if err := node.Load(&list[at], yaml.WithKnownFields()); err != nil {
				s.errs = append(s.errs, located(s.source, err))
			}
			s.check(node, name, list[at])
		default:
			at, err := place(list, fresh)
			if err != nil {
				s.at(node, fmt.Errorf("%s %w", name, err))
				continue
			}
			list = slices.Insert(list, at, fresh)
			s.check(node, name, fresh)
		}
	}
	return list
}

// cutRemove takes "remove" out of an entry, so that the rest can be decoded strictly.
func cutRemove(node *yaml.Node) (remove bool, err error) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == "remove" {
			err = node.Content[i+1].Load(&remove)
			node.Content = slices.Delete(slices.Clone(node.Content), i, i+2)
			return remove, err
		}
	}
	return false, nil
}

func placed[T any](list []T, _ T) (int, error) { return len(list), nil }

func beforeUnit(list []Unit, u Unit) (int, error) {
	if u.Before == "" {
		return len(list), nil
	}
	at := slices.IndexFunc(list, func(other Unit) bool { return other.Name == u.Before })
	if at < 0 {
		return 0, fmt.Errorf("comes before %s, which is not there", u.Before)
	}
	return at, nil
}
