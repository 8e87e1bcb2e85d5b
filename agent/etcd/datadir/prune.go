package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// prunedPrefix names what PruneAside has begun to remove.
const prunedPrefix = "pruned-"

// Aside is data that was set aside.
type Aside struct {
	Path   string // has "data", and what lay beside it
	Since  time.Time
	Bytes  int64
	Why    string
	Marker *Marker // nil: there was none, or it is damaged
}

// Asides are what was set aside, oldest first.
func Asides(dir string) ([]Aside, error) {
	names, err := asideNames(dir)
	if err != nil {
		return nil, fmt.Errorf("etcd data in %s: asides: %w", dir, err)
	}
	var all []Aside
	for _, name := range names {
		a := Aside{Path: filepath.Join(dir, name)}
		if there, err := exists(Data(a.Path)); !there {
			if err != nil {
				return nil, fmt.Errorf("etcd data in %s: asides: %w", dir, err)
			}
			continue // SetAside was cut before it moved the data
		}
		a.Since, _ = asideSince(name)
		if a.Bytes, _, err = weigh(a.Path); err != nil {
			return nil, fmt.Errorf("etcd data in %s: asides: %w", dir, err)
		}
		if why, err := readSmall(filepath.Join(a.Path, whyName), 5*maxWhy); err == nil {
			a.Why = string(bytes.TrimSpace(why))
		}
		a.Marker, _ = ReadMarker(a.Path) // one that is damaged went aside as it was
		all = append(all, a)
	}
	return all, nil
}

// PruneAside removes data that was set aside at least olderThan ago, and returns the paths. It keeps the newest, whatever
// has no marker, and everything of which newerBackup does not say that a newer backup exists.
func PruneAside(dir string, olderThan time.Duration, newerBackup func(Marker) bool) ([]string, error) {
	all, err := Asides(dir)
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, a := range all[:max(0, len(all)-1)] {
		if a.Marker == nil || time.Since(a.Since) < olderThan || !newerBackup(*a.Marker) {
			continue
		}
		// What is removed only in part is no longer data, so it loses its name first.
		gone := filepath.Join(dir, prunedPrefix+filepath.Base(a.Path))
		if err := os.Rename(a.Path, gone); err != nil {
			return removed, fmt.Errorf("etcd data in %s: prune: %w", dir, err)
		}
		removed = append(removed, a.Path)
	}
	leftovers, err := filepath.Glob(filepath.Join(dir, prunedPrefix+asidePrefix+"*"))
	for _, path := range leftovers {
		err = errors.Join(err, os.RemoveAll(path))
	}
	if err != nil {
		return removed, fmt.Errorf("etcd data in %s: prune: %w", dir, err)
	}
	return removed, nil
}
