package backup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/store"
)

func TestParse(t *testing.T) {
	at := func(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }
	blob := func(key string, size int64, minute int) store.Blob {
		return store.Blob{Key: "etcd/main/backups/" + key, Size: size, Modified: at(minute)}
	}
	delta := func(base, last int) string { return fmt.Sprintf("deltas/%020d-%020d.zst", base, last) }
	got := Parse("main", []store.Blob{
		blob("2/20261121T115900Z-70/manifest.json", 9, 5),
		blob("2/20261121T115900Z-70/snapshot.zst", 100, 4),
		blob("10/20261121T115800Z-60/snapshot.zst", 50, 3),
		blob("10/20261121T115800Z-60/"+delta(60, 60), 1, 7),
		blob("2/20261121T120000Z-50/"+delta(55, 61), 2, 9),
		blob("2/20261121T120000Z-50/"+delta(50, 55), 3, 8),
		blob("2/20261121T120000Z-50/manifest.json", 9, 1),
		blob("2/20261121T120000Z-50/snapshot.zst", 200, 0),
		blob("2/20261121T120001Z-50/manifest.json", 9, 2),
	})
	want := []Entry{
		{
			Cluster: "main", ID: "2/20261121T120000Z-50", Generation: 2, Taken: at(0), Revision: 50, Complete: true, Stored: 214,
			Snapshot: 200, Modified: at(1), Deltas: []DeltaEntry{
				{"etcd/main/backups/2/20261121T120000Z-50/" + delta(50, 55), 50, 55, 3},
				{"etcd/main/backups/2/20261121T120000Z-50/" + delta(55, 61), 55, 61, 2},
			},
		},
		{
			Cluster: "main", ID: "2/20261121T120001Z-50", Generation: 2, Taken: at(0).Add(time.Second), Revision: 50, Stored: 9,
			Modified: at(2),
		},
		{
			Cluster: "main", ID: "2/20261121T115900Z-70", Generation: 2, Taken: at(-1), Revision: 70, Complete: true, Stored: 109,
			Snapshot: 100, Modified: at(5),
		},
		{
			Cluster: "main", ID: "10/20261121T115800Z-60", Generation: 10, Taken: at(-2), Revision: 60, Stored: 51, Snapshot: 50,
			Modified: at(7), Deltas: []DeltaEntry{{"etcd/main/backups/10/20261121T115800Z-60/" + delta(60, 60), 60, 60, 1}},
		},
	}
	if diff := cmp.Diff(want, got.Entries); diff != "" {
		t.Error(diff)
	}
	if len(got.Foreign) != 0 {
		t.Errorf("foreign: %v", got.Foreign)
	}
}

// Only names that this package makes count: whatever else lies there is nobody's backup, and never removed as one.
func TestParseForeign(t *testing.T) {
	const good = "etcd/main/backups/3/20261121T120000Z-50/"
	var listed []store.Blob
	for _, key := range []string{
		"etcd/main/lineage.json", "etcd/main/backups/README", "etcd/main/backups/3/snapshot.zst", good + "other", good,
		good + "snapshot.zst/x", good + "manifest.json.bak", good + "deltas/", good + "deltas/50-55.zst",
		good + "deltas/00000000000000000055-00000000000000000050.zst", good + "deltas/00000000000000000000-00000000000000000050.zst",
		good + "deltas/00000000000000000050-00000000000000000055", good + "deltas/+0000000000000000050-00000000000000000055.zst",
		"etcd/main/backups/03/20261121T120000Z-50/snapshot.zst", "etcd/main/backups/0/20261121T120000Z-50/snapshot.zst",
		"etcd/main/backups/-3/20261121T120000Z-50/snapshot.zst", "etcd/main/backups/3/20261121T120000Z-050/snapshot.zst",
		"etcd/main/backups/3/20261121T120000Z-0/snapshot.zst", "etcd/main/backups/3/20261121T120000Z--5/snapshot.zst",
		"etcd/main/backups/3/20261121T120000Z/snapshot.zst", "etcd/main/backups/3/20261131T120000Z-50/snapshot.zst",
		"etcd/main/backups/3/2026-11-21-50/snapshot.zst", "etcd/main/backups/3/20261121T120000Z-99999999999999999999/snapshot.zst",
		"etcd/events/backups/3/20261121T120000Z-50/snapshot.zst",
	} {
		listed = append(listed, store.Blob{Key: key, Size: 1})
	}
	listed = append(listed, store.Blob{Key: good + "snapshot.zst"}, store.Blob{Key: good + "manifest.json"}) // empty
	got := Parse("main", listed)
	if len(got.Entries) != 0 || len(got.Foreign) != len(listed) {
		t.Errorf("%d of %d are foreign; entries %+v", len(got.Foreign), len(listed), got.Entries)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("3/20261121T120000Z-50/snapshot.zst")
	f.Add("3/20261121T120000Z-50/deltas/00000000000000000050-00000000000000000055.zst")
	f.Fuzz(func(t *testing.T, name string) {
		key := Prefix("main") + name
		got := Parse("main", []store.Blob{{Key: key, Size: 1}})
		if len(got.Entries)+len(got.Foreign) != 1 {
			t.Fatalf("%q is %d entries and %d foreign objects", name, len(got.Entries), len(got.Foreign))
		}
		for _, e := range got.Entries {
			made := []string{e.SnapshotKey(), e.ManifestKey()}
			for _, d := range e.Deltas {
				made = append(made, e.DeltaKey(d.Base, d.Last))
			}
			if !slices.Contains(made, key) {
				t.Errorf("%q was read as %+v", name, e)
			}
		}
	})
}

func TestCandidates(t *testing.T) {
	entry := func(generation, minute int, revision, last int64) Entry {
		e := Entry{Generation: generation, Taken: noon.Add(time.Duration(minute) * time.Minute), Revision: revision, Complete: true}
		e.ID = ID(generation, e.Taken, revision)
		if last > 0 {
			e.Deltas = []DeltaEntry{{Base: revision, Last: (revision + last) / 2}, {Base: (revision + last) / 2, Last: last}}
		}
		return e
	}
	incomplete := entry(3, 9, 900, 0)
	incomplete.Complete = false
	gap := entry(3, 8, 60, 70)
	gap.Deltas = append(gap.Deltas, DeltaEntry{Base: 80, Last: 999})
	ordered := []Entry{ // as a restore tries them
		entry(4, 0, 30, 0),
		entry(3, 1, 100, 500), // reaches further than the next, which is younger
		entry(3, 5, 450, 0),
		entry(3, 7, 90, 200),
		entry(3, 3, 150, 200-50),
		gap,
		entry(3, 6, 50, 0), // taken later than the next at the same revision
		entry(3, 2, 50, 0),
		entry(2, 8, 9000, 9999),
	}
	for range 20 {
		shuffled := append(slices.Clone(ordered), incomplete)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if diff := cmp.Diff(ids(ordered), ids(Candidates(shuffled, 9))); diff != "" {
			t.Fatal(diff)
		}
		if got := Newest(shuffled, 3); got == nil || got.ID != ordered[1].ID {
			t.Errorf("newest of generation 3: %+v", got)
		}
		if got := Latest(shuffled, 3); got == nil || got.ID != ordered[2].ID {
			t.Errorf("latest of generation 3: %+v", got)
		}
		if got := Latest(shuffled, 1); got != nil {
			t.Errorf("latest of generation 1: %+v", got)
		}
		if got := Newest(shuffled, 1); got != nil {
			t.Errorf("newest of generation 1: %+v", got)
		}
	}
}

func ids(entries []Entry) (all []string) {
	for _, e := range entries {
		all = append(all, e.ID)
	}
	return all
}

func TestListUnknown(t *testing.T) {
	_, err := List(t.Context(), store.NewDir("/nowhere/at/all"), "main")
	if err == nil || !strings.Contains(err.Error(), "backups of etcd main") {
		t.Errorf("error %v", err)
	}
}
