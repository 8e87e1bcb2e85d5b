package bake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"rekindle/agent/apply"
	"rekindle/agent/host"
)

// Leftover is something in an image that must not be there.
type Leftover struct {
	Path   string
	Why    string
	Remedy string // a command
	rule   *rule
}

// String is the leftover as one line.
func (l Leftover) String() string { return fmt.Sprintf("%s: %s (%s)", l.Path, l.Why, l.Remedy) }

// leftovers finds what the rules name, in their order and then by path.
func leftovers(h *host.Host, keep []string) ([]Leftover, error) {
	booted := h.Root() == "/"
	var found []Leftover
	var paths []string // of those found
	for i := range rules {
		r := &rules[i]
		if r.Booted && booted {
			continue
		}
		for _, pattern := range r.Paths {
			candidates, err := expand(h, pattern)
			if err != nil {
				return nil, err
			}
			for _, p := range candidates {
				if slices.Contains(r.Skip, p) || within(p, keep) || within(p, paths) {
					continue
				}
				is, err := h.Look(p)
				if err != nil {
					return nil, err
				}
				if ok, err := r.applies(h, p, is); err != nil || !ok {
					if err != nil {
						return nil, err
					}
					continue
				}
				paths = append(paths, p)
				found = append(found, Leftover{Path: p, Why: r.Why, Remedy: r.remedy(p), rule: r})
			}
		}
	}
	return append(found, booting(h)...), nil
}

// applies tells whether what stands at p is a leftover.
func (r *rule) applies(h *host.Host, p string, is apply.Entry) (bool, error) {
	if r.Regular && is.Kind != apply.KindFile {
		return false, nil
	}
	if !r.Empty {
		return true, nil
	}
	data, err := h.Read(p)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	text := strings.TrimSpace(string(data))
	return text != "" && text != "uninitialized", err
}

func (r *rule) remedy(p string) string {
	switch {
	case r.Node:
		return "bake a machine that never was a node, or give --keep " + p
	case r.Empty:
		return "truncate --size=0 " + p
	}
	return "rm -rf " + p + ", or give --keep " + p
}

// within tells whether p is, or is below, one of paths.
func within(p string, paths []string) bool {
	return slices.ContainsFunc(paths, func(k string) bool { return p == k || strings.HasPrefix(p, strings.TrimSuffix(k, "/")+"/") })
}

// expand finds the paths that a pattern stands for, sorted. Links are not followed below the first wildcard.
func expand(h *host.Host, pattern string) ([]string, error) {
	paths := []string{"/"}
	for element := range strings.SplitSeq(strings.TrimPrefix(pattern, "/"), "/") {
		var next []string
		for _, dir := range paths {
			more, err := matches(h, dir, element)
			if err != nil {
				return nil, err
			}
			next = append(next, more...)
		}
		paths = next
	}
	return paths, nil
}

func matches(h *host.Host, dir, element string) ([]string, error) {
	if element == "**" {
		return filesBelow(h, dir)
	}
	real, err := h.Path(dir)
	if err != nil {
		return nil, err
	}
	if skip, err := volatile(h.Root(), real); err != nil || skip {
		return nil, gone(err)
	}
	names, err := os.ReadDir(real)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	var paths []string
	for _, entry := range names {
		if ok, err := path.Match(element, entry.Name()); err != nil {
			return nil, err
		} else if ok {
			paths = append(paths, path.Join(dir, entry.Name()))
		}
	}
	return paths, gone(err)
}

// filesBelow is every file and link below dir.
func filesBelow(h *host.Host, dir string) ([]string, error) {
	top, err := h.Path(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	err = filepath.WalkDir(top, func(real string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return gone(err)
		}
		paths = append(paths, path.Join(dir, strings.TrimPrefix(real, top)))
		return nil
	})
	return paths, err
}

// volatile tells whether a directory is not in the image, but in memory: a tmpfs, or the kernel's.
func volatile(root, real string) (bool, error) {
	other, err := otherFileSystem(root, real)
	if err != nil || !other {
		return false, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(real, &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: real, Err: err}
	}
	switch st.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC:
		return true, nil
	}
	return false, nil
}
