package backup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rekindle/agent/store"
)

// Catalog is what the listing of a cluster's backups shows.
type Catalog struct {
	Entries []Entry  // by generation, then revision, then time
	Foreign []string // keys that are no part of a backup; nobody touches them
}

// List returns a cluster's backups by generation, then revision. Objects with other names are passed over; Survey names
// them. An error means that nobody knows what is there.
func List(ctx context.Context, blobs store.Blobs, cluster string) ([]Entry, error) {
	catalog, err := Survey(ctx, blobs, cluster)
	return catalog.Entries, err
}

// Survey lists a cluster's backups, and what lies between them.
func Survey(ctx context.Context, blobs store.Blobs, cluster string) (Catalog, error) {
	listed, err := blobs.Blobs(ctx, Prefix(cluster))
	if err != nil {
		return Catalog{}, fmt.Errorf("backups of etcd %s: %w", cluster, err)
	}
	return Parse(cluster, listed), nil
}

// Parse makes a catalog of a listing. A name counts only if it is, byte for byte, one that this package makes.
func Parse(cluster string, listed []store.Blob) Catalog {
	var catalog Catalog
	found := map[string]*draft{}
	for _, blob := range listed {
		entry, name, ok := parseKey(cluster, blob.Key)
		if !ok {
			catalog.Foreign = append(catalog.Foreign, blob.Key)
			continue
		}
		d := found[entry.ID]
		if d == nil {
			d = &draft{Entry: entry}
		}
		if !d.add(name, blob) {
			catalog.Foreign = append(catalog.Foreign, blob.Key)
			continue
		}
		found[entry.ID] = d
	}
	for _, d := range found {
		catalog.Entries = append(catalog.Entries, d.finish())
	}
	slices.SortFunc(catalog.Entries, chronological)
	slices.Sort(catalog.Foreign)
	return catalog
}

// chronological is the order in which things happened: clocks do not decide it, as long as something else does.
func chronological(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Revision, b.Revision), a.Taken.Compare(b.Taken))
}

// parseKey takes a key apart: the backup, and the name of the object in it.
func parseKey(cluster, key string) (entry Entry, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, Prefix(cluster))
	if !ok {
		return Entry{}, "", false
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) != 3 {
		return Entry{}, "", false
	}
	taken, revision, _ := strings.Cut(parts[1], "-")
	when, err := time.Parse(timeLayout, taken)
	if err != nil {
		return Entry{}, "", false
	}
	entry = Entry{Cluster: cluster, ID: parts[0] + "/" + parts[1], Taken: when}
	entry.Generation, err = strconv.Atoi(parts[0])
	if err != nil || entry.Generation < 1 {
		return Entry{}, "", false
	}
	entry.Revision, err = strconv.ParseInt(revision, 10, 64)
	if err != nil || entry.Revision < 1 {
		return Entry{}, "", false
	}
	return entry, parts[2], ID(entry.Generation, when, entry.Revision) == entry.ID
}

// draft is an entry of which not all objects were seen yet.
type draft struct {
	Entry
	manifest  time.Time // when it was written
	described bool      // there is a manifest
}

// add counts one of the backup's objects. It is false for an object with another name, or of no length.
func (d *draft) add(name string, blob store.Blob) bool {
	switch delta, isDelta := d.parseDelta(name); {
	case blob.Size <= 0:
		return false
	case name == manifestName:
		d.described, d.manifest = true, blob.Modified
	case name == snapshotName:
		d.Snapshot = blob.Size
	case isDelta:
		delta.Key, delta.Stored = blob.Key, blob.Size
		d.Deltas = append(d.Deltas, delta)
	default:
		return false
	}
	if blob.Modified.After(d.Modified) {
		d.Modified = blob.Modified
	}
	d.Stored += blob.Size
	return true
}

func (d *draft) finish() Entry {
	if d.described {
		d.Complete, d.Modified = d.Snapshot > 0, d.manifest
	}
	slices.SortFunc(d.Deltas, func(a, b DeltaEntry) int {
		return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.Last, b.Last))
	})
	return d.Entry
}

func (e Entry) parseDelta(name string) (DeltaEntry, bool) {
	from, to, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(name, deltasDir), ".zst"), "-")
	base, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return DeltaEntry{}, false
	}
	last, err := strconv.ParseInt(to, 10, 64)
	if err != nil || base < 1 || last < base {
		return DeltaEntry{}, false
	}
	return DeltaEntry{Base: base, Last: last}, e.DeltaKey(base, last) == e.Key(name)
}

// Candidates are the complete backups up to a generation, in the order in which a restore tries them: the newest
// generation first; in it the one that reaches furthest; of equals the one with fewer deltas to replay.
func Candidates(entries []Entry, maxGeneration int) []Entry {
	var all []Entry
	for _, entry := range entries {
		if entry.Complete && entry.Generation <= maxGeneration {
			all = append(all, entry)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.Generation, a.Generation), cmp.Compare(b.Reaches(), a.Reaches()),
			cmp.Compare(b.Revision, a.Revision), b.Taken.Compare(a.Taken))
	})
	return all
}

// Newest is the first of the Candidates, nil without any.
func Newest(entries []Entry, maxGeneration int) *Entry {
	all := Candidates(entries, maxGeneration)
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

// Latest is the complete backup of a generation with the highest revision, nil without any: the one that deltas follow. It need
// not be Newest: the deltas of the one before reach further until its own do.
func Latest(entries []Entry, generation int) *Entry {
	var latest *Entry
	for i, entry := range entries {
		if entry.Complete && entry.Generation == generation && (latest == nil || chronological(*latest, entry) < 0) {
			latest = &entries[i]
		}
	}
	return latest
}
