package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	whyName     = "why.txt"
	asideLayout = "20060102T150405Z"
	maxWhy      = 4 << 10
)

// SetAside renames the data of a member's directory, with its marker, to a directory aside-<time> beside it, and returns
// that. It does not touch data.part. Without data there is nothing to set aside, and it returns "", unless a SetAside that was
// cut is to be completed.
//
// The marker goes along as a copy before the data is renamed, and is removed after. So the rename of the data is the one
// instant at which it happens: before it everything is in its place, after it everything is aside, for Inspect does not
// see a marker that went along. A call after a cut does what is left to do.
func SetAside(dir string, now time.Time, why string) (string, error) {
	path, err := (&mover{dir: dir}).setAside(now, why)
	if err != nil {
		return "", fmt.Errorf("etcd data in %s: set aside: %w", dir, err)
	}
	return path, nil
}

// mover changes a directory step by step. The test cuts it before each.
type mover struct {
	dir    string
	before func(step string) error // nil: no test
}

func (m *mover) step(name string, do func() error) error {
	if m.before != nil {
		if err := m.before(name); err != nil {
			return err
		}
	}
	return do()
}

func (m *mover) setAside(now time.Time, why string) (string, error) {
	there, err := exists(Data(m.dir))
	if err != nil {
		return "", err
	}
	if !there {
		return m.finish()
	}
	held, err := busy(Data(m.dir))
	if err == nil && held {
		err = errors.New("etcd runs on it: stop it first")
	}
	if err != nil {
		return "", err
	}
	if err := m.tidy(); err != nil {
		return "", err
	}
	aside, err := m.prepare(now, why)
	if err != nil {
		return "", err
	}
	if err := m.step("rename data", func() error { return os.Rename(Data(m.dir), Data(aside)) }); err != nil {
		return "", err
	}
	if err := m.step("sync aside, with the data", func() error { return syncDir(aside) }); err != nil {
		return "", err
	}
	if err := m.step("sync dir, without the data", func() error { return syncDir(m.dir) }); err != nil {
		return "", err
	}
	return aside, m.drop()
}

// prepare makes the directory, with all but the data.
func (m *mover) prepare(now time.Time, why string) (aside string, err error) {
	err = m.step("make aside", func() error {
		aside, err = makeAside(m.dir, now)
		return err
	})
	if err != nil {
		return "", err
	}
	if err := m.step("write why", func() error {
		return writeDurably(aside, filepath.Join(aside, whyName), fmt.Appendf(nil, "%.*s\n", maxWhy, why))
	}); err != nil {
		return "", err
	}
	marker, err := readSmall(MarkerPath(m.dir), maxMarker)
	if err == nil {
		err = m.step("copy marker", func() error { return writeDurably(aside, MarkerPath(aside), marker) })
	}
	if err := ignoreAbsent(err); err != nil {
		return "", err
	}
	return aside, m.step("sync dir, with aside", func() error { return syncDir(m.dir) })
}

// finish completes a call that was cut after the rename.
func (m *mover) finish() (string, error) {
	stale, err := staleMarker(m.dir)
	if err != nil || !stale {
		return "", err
	}
	aside, err := newestAside(m.dir)
	if err != nil {
		return "", err
	}
	if err := m.step("sync aside, with the data", func() error { return syncDir(aside) }); err != nil {
		return "", err
	}
	return aside, m.drop()
}

// drop removes the marker of data that is aside.
func (m *mover) drop() error {
	if err := m.step("remove marker", func() error { return ignoreAbsent(os.Remove(MarkerPath(m.dir))) }); err != nil {
		return err
	}
	return m.step("sync dir, without marker", func() error { return syncDir(m.dir) })
}

// tidy removes what calls that were cut before the rename have left: copies, and directories with nothing else in them.
func (m *mover) tidy() error {
	names, err := asideNames(m.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(m.dir, name)
		if there, err := exists(Data(path)); there || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := m.step("tidy", func() error { return removeUnused(path) }); err != nil {
			return err
		}
	}
	return nil
}

// removeUnused removes a directory that was prepared and not used, unless there is something in it that SetAside did not put there.
func removeUnused(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := strings.TrimPrefix(e.Name(), "."); !strings.HasPrefix(name, whyName) && !strings.HasPrefix(name, markerName) {
			return nil
		}
	}
	return os.RemoveAll(path)
}

// makeAside makes a directory that is named after the time, and sorts after all others, also when the clock was set back.
func makeAside(dir string, now time.Time) (string, error) {
	names, err := asideNames(dir)
	if err != nil {
		return "", err
	}
	name := asidePrefix + now.UTC().Format(asideLayout)
	if len(names) > 0 && names[len(names)-1] >= name {
		stamp, count, _ := strings.Cut(strings.TrimPrefix(names[len(names)-1], asidePrefix), "-")
		n, _ := strconv.Atoi(count)
		name = fmt.Sprintf("%s%s-%04d", asidePrefix, stamp, n+1)
	}
	path := filepath.Join(dir, name)
	return path, os.Mkdir(path, 0o700)
}

// asideNames are the directories that SetAside made, oldest first.
func asideNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, ignoreAbsent(err)
	}
	var names []string
	for _, e := range entries { // sorted by name, and so by time
		if _, ok := asideSince(e.Name()); ok && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func asideSince(name string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(name, asidePrefix)
	if !ok {
		return time.Time{}, false
	}
	stamp, _, _ := strings.Cut(rest, "-")
	since, err := time.Parse(asideLayout, stamp)
	return since, err == nil
}

// newestAside is the newest directory that has data in it; "" when there is none.
func newestAside(dir string) (string, error) {
	names, err := asideNames(dir)
	if err != nil {
		return "", err
	}
	for _, name := range slices.Backward(names) {
		path := filepath.Join(dir, name)
		if there, err := exists(Data(path)); there || err != nil {
			return path, err
		}
	}
	return "", nil
}
