package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// unitPath is where unit files are looked for; the first that has a name wins.
var unitPath = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// unitFile is a unit's settings: those of its fragment, then those of its drop-ins.
type unitFile struct {
	name     string
	fragment string // where it was found; empty for a unit that has none
	masked   bool
	settings map[string][]string // by "Section.Key"; an empty value has cleared those before it
}

// loadUnit reads a unit's fragment and drop-ins. A unit without a fragment has none and no error.
func (h *Host) loadUnit(name string) (*unitFile, error) {
	u := &unitFile{name: name, settings: map[string][]string{}}
	names := []string{name}
	if template := templateOf(name); template != "" {
		names = append(names, template)
	}
	for _, n := range names {
		for _, dir := range unitPath {
			found, err := u.take(h, path.Join(dir, n))
			if err != nil {
				return nil, err
			}
			if found {
				u.fragment = path.Join(dir, n)
				break
			}
		}
		if u.fragment != "" {
			break
		}
	}
	if u.fragment == "" || u.masked {
		return u, nil
	}
	return u, u.takeDropIns(h, names)
}

// takeDropIns reads <name>.d/*.conf of all directories in the order of the files' names. Of two with the same name the
// one of the earlier directory counts.
func (u *unitFile) takeDropIns(h *Host, names []string) error {
	_, suffix := splitSuffix(u.name)
	dropIns := map[string]string{}
	for _, n := range append(names, suffix[1:]) {
		for _, dir := range unitPath {
			files, err := h.List(path.Join(dir, n+".d"))
			if err != nil {
				return err
			}
			for _, f := range files {
				if path.Ext(f) == ".conf" && dropIns[f] == "" {
					dropIns[f] = path.Join(dir, n+".d", f)
				}
			}
		}
	}
	var files []string
	for f := range dropIns {
		files = append(files, f)
	}
	slices.Sort(files)
	for _, f := range files {
		if _, err := u.take(h, dropIns[f]); err != nil {
			return err
		}
	}
	return nil
}

// take adds the settings of one file.
func (u *unitFile) take(h *Host, p string) (found bool, err error) {
	entry, err := h.Look(p)
	if err != nil || entry.Kind == "" {
		return false, err
	}
	if entry.Link == "/dev/null" {
		u.masked = u.masked || !strings.HasSuffix(p, ".conf")
		return true, nil
	}
	data, err := h.Read(p)
	if errors.Is(err, fs.ErrNotExist) { // a link to nothing
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(data) == 0 && !strings.HasSuffix(p, ".conf") { // an empty file masks like a link to /dev/null
		u.masked = true
	}
	if err := u.parse(string(data)); err != nil {
		return false, fmt.Errorf("%s: %w", p, err)
	}
	return true, nil
}

// parse reads systemd.syntax(7): sections, assignments, comments, and lines that a backslash joins, between which
// comments may stand. The parser of go-systemd stops at lines of 2048 bytes and keeps the backslashes.
func (u *unitFile) parse(text string) error {
	section, joined, number := "", "", 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line = strings.TrimRight(line, "\r")
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
			continue
		}
		if part, ok := strings.CutSuffix(line, `\`); ok {
			joined += part + " "
			continue
		}
		line, joined = strings.TrimSpace(joined+line), ""
		if line == "" {
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok {
			if section, ok = strings.CutSuffix(name, "]"); !ok {
				return fmt.Errorf("line %d: section %q does not end with ]", number, line)
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "" {
			return fmt.Errorf("line %d: %q is no assignment in a section", number, line)
		}
		key, value = section+"."+strings.TrimSpace(key), strings.TrimSpace(value)
		if value == "" {
			delete(u.settings, key)
			continue
		}
		u.settings[key] = append(u.settings[key], value)
	}
	if joined != "" {
		return fmt.Errorf("line %d: the file ends with a backslash", number)
	}
	return nil
}

// all is every value of a setting.
func (u *unitFile) all(key string) []string { return u.settings[key] }

// last is the value that counts of a setting that can have one only.
func (u *unitFile) last(key, otherwise string) string {
	if values := u.settings[key]; len(values) > 0 {
		return values[len(values)-1]
	}
	return otherwise
}

// list is the words of all values.
func (u *unitFile) list(key string) []string {
	var words []string
	for _, v := range u.settings[key] {
		words = append(words, strings.Fields(v)...)
	}
	return words
}

func (u *unitFile) yes(key string) bool {
	switch strings.ToLower(u.last(key, "")) {
	case "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}

// templateOf is "foo@.service" for "foo@bar.service", else empty.
func templateOf(name string) string {
	prefix, rest, ok := strings.Cut(name, "@")
	_, suffix := splitSuffix(rest)
	if !ok || rest == suffix {
		return ""
	}
	return prefix + "@" + suffix
}

func splitSuffix(name string) (stem, suffix string) {
	i := strings.LastIndex(name, ".")
	if i < 0 {
		return name, ".service"
	}
	return name[:i], name[i:]
}
