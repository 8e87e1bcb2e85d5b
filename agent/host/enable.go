package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// enableDir is where systemctl enable puts its links.
const enableDir = "/etc/systemd/system"

// Enable implements apply.Units, with the links that systemctl would make.
func (r *Processes) Enable(_ context.Context, name string, on bool) (changed bool, err error) {
	u, err := r.host.loadUnit(name)
	if err != nil {
		return false, err
	}
	if !on {
		return r.disable(u)
	}
	if u.masked || u.fragment == "" {
		_, err := r.definition(name) // which says so
		return false, err
	}
	for _, link := range u.links() {
		entry, err := r.host.Look(link)
		if err != nil {
			return changed, err
		}
		if entry.Link == u.fragment {
			continue
		}
		if err := r.host.link(u.fragment, link); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

func (r *Processes) disable(u *unitFile) (changed bool, err error) {
	links, err := r.enabledBy(u)
	if err != nil {
		return false, err
	}
	for _, link := range links {
		if err := r.host.Remove(link); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// links is where [Install] wants links.
func (u *unitFile) links() []string {
	var links []string
	for _, kind := range []struct{ key, suffix string }{{"WantedBy", ".wants"}, {"RequiredBy", ".requires"}, {"UpheldBy", ".upholds"}} {
		for _, target := range u.list("Install." + kind.key) {
			links = append(links, path.Join(enableDir, target+kind.suffix, u.name))
		}
	}
	for _, alias := range u.list("Install.Alias") {
		if !strings.Contains(alias, "/") {
			links = append(links, path.Join(enableDir, alias))
		}
	}
	return links
}

// enabledBy is the links that there are, also those that an earlier version of the unit wanted.
func (r *Processes) enabledBy(u *unitFile) ([]string, error) {
	var links []string
	names, err := r.host.List(enableDir)
	if err != nil {
		return nil, err
	}
	candidates := u.links()
	for _, n := range names {
		switch path.Ext(n) {
		case ".wants", ".requires", ".upholds":
			candidates = append(candidates, path.Join(enableDir, n, u.name))
		}
	}
	slices.Sort(candidates)
	for _, link := range slices.Compact(candidates) {
		entry, err := r.host.Look(link)
		if err != nil {
			return nil, err
		}
		if entry.Link != "" {
			links = append(links, link)
		}
	}
	return links, nil
}

func (r *Processes) fileState(u *unitFile) (string, error) {
	if u.masked {
		return "masked", nil
	}
	links, err := r.enabledBy(u)
	switch {
	case err != nil:
		return "", err
	case len(links) > 0:
		return "enabled", nil
	case len(u.links()) == 0:
		return "static", nil
	}
	return "disabled", nil
}

// link makes a symbolic link, in place of one that is there.
func (h *Host) link(target, p string) error {
	if err := h.MkdirAll(path.Dir(p)); err != nil {
		return err
	}
	real, err := h.place(p)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(real); err == nil && info.Mode().Type() != fs.ModeSymlink {
		return fmt.Errorf("%s: a link belongs here (move it away: mv %[1]s %[1]s.aside)", p)
	}
	if err := os.Remove(real); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain(p, err)
	}
	return explain(p, os.Symlink(target, real))
}
