// Package host is the machine that a plan is applied to: its files below a root, and its units, which systemd runs, or
// on nodes without systemd the agent itself.
package host

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Host is a machine's files. All its paths are absolute paths of the machine, below its root.
type Host struct{ root string }

// New is the machine whose "/" is the directory root.
func New(root string) *Host {
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	return &Host{root}
}

// Root is the directory that the machine sees as "/".
func (h *Host) Root() string { return h.root }

// Path is where p really is. Links are followed as the machine would follow them: one to /run leads to <root>/run, and
// ".." does not climb over the root. What does not exist is no error; what no machine could mean is.
func (h *Host) Path(p string) (string, error) { return h.resolve(p, true) }

// place is where p itself is, be it a link or not.
func (h *Host) place(p string) (string, error) { return h.resolve(p, false) }

// maxLinks is the kernel's limit.
const maxLinks = 40

func (h *Host) resolve(p string, follow bool) (string, error) {
	if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("path %q: not absolute", p)
	}
	for depth, rest := 0, p; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return "", fmt.Errorf("path %q: leads out of the root", p)
		}
	}
	done, rest := "/", p
	for links := 0; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		switch name {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, name)
		if !follow && strings.Trim(rest, "/.") == "" {
			done = next
			continue
		}
		target, err := os.Readlink(filepath.Join(h.root, next))
		switch {
		case err == nil:
			if links++; links > maxLinks {
				return "", fmt.Errorf("path %s: %w", p, syscall.ELOOP)
			}
			if path.IsAbs(target) {
				done = "/"
			}
			rest = target + "/" + rest
		case errors.Is(err, syscall.EINVAL), errors.Is(err, os.ErrNotExist): // no link; nothing there yet
			done = next
		case errors.Is(err, syscall.ENOTDIR):
			return "", fmt.Errorf("path %s: %s is no directory (move it away: mv %[2]s %[2]s.aside)", p, done)
		default:
			return "", explain(p, err)
		}
	}
	return filepath.Join(h.root, done), nil
}
