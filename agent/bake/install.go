package bake

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"rekindle/agent/apply"
)

const (
	// Program is where the agent lies in an image: its unit names it.
	Program = "/usr/bin/rekindle"
	unitDir = "/usr/lib/systemd/system"
	wantDir = "/etc/systemd/system"
)

// Install is the files that a program, the folder of the agent's units (or nil) and its completions (by path in the image)
// become.
func Install(program string, units fs.FS, completions map[string][]byte) ([]apply.File, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	files := []apply.File{{Path: Program, Mode: 0o755, Content: content}}
	for name, content := range completions {
		files = append(files, apply.File{Path: name, Mode: 0o644, Content: content})
	}
	if units != nil {
		err = fs.WalkDir(units, ".", func(name string, entry fs.DirEntry, err error) error {
			to := destination(name)
			if err != nil || entry.IsDir() || to == "" {
				return err
			}
			content, err := fs.ReadFile(units, name)
			files = append(files, apply.File{Path: to, Mode: 0o644, Content: content})
			return err
		})
	}
	slices.SortFunc(files, func(a, b apply.File) int { return strings.Compare(a.Path, b.Path) })
	return files, err
}

var unitKinds = []string{".service", ".socket", ".target", ".timer", ".path", ".mount", ".slice"}

// destination is where a file of the units' folder belongs; empty for what is none of systemd's.
func destination(name string) string {
	dir, kind := path.Dir(name), path.Ext(name)
	stem := strings.TrimSuffix(name, kind)
	switch {
	case dir != ".":
		if path.Ext(dir) == ".d" && kind == ".conf" && slices.Contains(unitKinds, path.Ext(strings.TrimSuffix(dir, ".d"))) {
			return path.Join(unitDir, name)
		}
		return ""
	case slices.Contains(unitKinds, kind):
		return path.Join(unitDir, name)
	case kind == ".preset":
		return path.Join("/usr/lib/systemd/system-preset", name)
	case kind == ".tmpfiles", kind == ".sysusers":
		return path.Join("/usr/lib", kind[1:]+".d", stem+".conf")
	}
	return ""
}

// install puts the agent's own files in place, and enables its units.
func (b *baker) install(ctx context.Context) error {
	for _, f := range b.Files {
		if err := b.write(ctx, f); err != nil {
			return err
		}
		if path.Dir(f.Path) != unitDir {
			continue
		}
		links, err := wantedBy(path.Base(f.Path), f.Content)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		for _, link := range links {
			if err := b.link(f.Path, link); err != nil {
				return err
			}
		}
	}
	return nil
}

// write puts one file in place, unless it is.
func (b *baker) write(ctx context.Context, f apply.File) error {
	is, err := b.host.Look(f.Path)
	if err != nil {
		return err
	}
	change := apply.Change{Kind: "file", Name: f.Path, Action: "create"}
	if is.Kind == apply.KindFile {
		was, err := b.host.Read(f.Path)
		if err != nil {
			return err
		}
		if bytes.Equal(was, f.Content) && is.Mode == f.Mode {
			return nil
		}
		change.Action = "update"
	}
	if !b.Dry {
		if err := b.host.MkdirAll(path.Dir(f.Path)); err != nil {
			return err
		}
		if _, err := b.host.Write(ctx, f); err != nil {
			return err
		}
	}
	b.did(change)
	return nil
}

// wantedBy is the links that enable a unit, as systemctl makes them.
func wantedBy(name string, content []byte) ([]string, error) {
	options, err := unit.DeserializeOptions(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	var links []string
	for _, o := range options {
		if o.Section != "Install" {
			continue
		}
		suffix, ok := map[string]string{"WantedBy": ".wants", "RequiredBy": ".requires", "UpheldBy": ".upholds"}[o.Name]
		for _, other := range strings.Fields(o.Value) {
			switch {
			case ok:
				links = append(links, path.Join(wantDir, other+suffix, name))
			case o.Name == "Alias":
				links = append(links, path.Join(wantDir, other))
			}
		}
	}
	return links, nil
}

// link makes a symbolic link, in place of another one.
func (b *baker) link(target, p string) error {
	is, err := b.host.Look(p)
	if err != nil || is.Link == target {
		return err
	}
	if is.Kind != apply.KindNone && is.Link == "" {
		return fmt.Errorf("%s: a link belongs here (move it away: mv %[1]s %[1]s.aside)", p)
	}
	b.did(apply.Change{Kind: "link", Name: p, Action: "create", Detail: "to " + target})
	if b.Dry {
		return nil
	}
	if err := b.host.MkdirAll(path.Dir(p)); err != nil {
		return err
	}
	if err := b.host.Remove(p); err != nil {
		return err
	}
	dir, err := b.host.Path(path.Dir(p))
	if err != nil {
		return err
	}
	return os.Symlink(target, path.Join(dir, path.Base(p)))
}
