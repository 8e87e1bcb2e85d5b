package plan

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"rekindle/roles"
)

// imagesDir receives the archives that rekindle-images.service imports.
const imagesDir = "/var/lib/rekindle/images"

// assets takes over the role's, as far as the manifest has them.
func (m *maker) assets() {
	skipped := 0
	for _, a := range m.in.Role.Assets {
		where := "role " + m.in.Role.Name + ": asset " + a.Key()
		m.render.known[a.Key()] = true
		ok, err := m.render.when(where, a.When)
		object, renderErr := m.render.template(where, a.Object)
		mode, modeErr := ParseMode(cmp.Or(a.Mode, "0755"))
		if modeErr != nil {
			modeErr = problem(where, "%w", modeErr)
		}
		m.fail(err, renderErr, modeErr)
		if !ok || err != nil || renderErr != nil || modeErr != nil {
			continue
		}
		if a.Unpack {
			mode = 0 // the archive's own
		}
		found := m.offered(strings.TrimSpace(object), a)
		if found == nil && a.Optional && !m.listed() {
			skipped++
		}
		for _, asset := range found {
			asset.Mode = mode
			m.plan.Assets = append(m.plan.Assets, asset)
			m.render.taken[a.Key()] = true
			if path.Dir(asset.Path) == imagesDir {
				m.data.Images = append(m.data.Images, asset.Path)
			}
		}
	}
	slices.Sort(m.data.Images)
	if len(m.missing) > 0 {
		m.fail(problem("manifest", "the role needs what is not published: %s; add it to the directory that you publish and run "+
			"`rekindle publish DIR STORE`", strings.Join(m.missing, ", ")))
	}
	if skipped > 0 {
		m.warn("planned without the store's manifest: digests are not known, and %d optional assets are left out", skipped)
	}
}

// listed says whether it is known what the store offers.
func (m *maker) listed() bool { return len(m.in.Manifest) > 0 }

// offered finds the objects that an asset stands for.
func (m *maker) offered(object string, a roles.Asset) []Asset {
	if strings.Contains(path.Base(object), "*") {
		var all []Asset
		for _, name := range keys(m.in.Manifest) {
			if ok, err := path.Match(object, name); ok && err == nil {
				all = append(all, Asset{Object: name, SHA256: m.in.Manifest[name], Path: path.Join(a.Path, path.Base(name))})
			}
		}
		if len(all) == 0 && !a.Optional && m.listed() {
			m.missing = append(m.missing, object)
		}
		return all
	}
	sum, ok := m.in.Manifest[object]
	if !ok && a.Optional {
		return nil
	}
	if !ok && m.listed() {
		m.missing = append(m.missing, object)
		return nil
	}
	return []Asset{{Object: object, SHA256: sum, Path: a.Path, Unpack: a.Unpack}}
}
