package restore

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"rekindle/agent/etcd/backup"
)

// A database file becomes the data directory that a backup of it would.
func TestFromFile(t *testing.T) {
	blobs, e := fixture(t)
	want := order(t, e)
	want.Bump = 7
	if _, err := Restore(deadline(t), blobs, want); err != nil {
		t.Fatal(err)
	}
	restored := dump(t, want.Dir)
	raw, err := os.ReadFile(filepath.Join(shared.dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	summed := append(raw, sha256Sum(raw)...)
	for name, c := range map[string]struct {
		data []byte
		move bool
		err  error
	}{
		"a database":         {raw, false, nil},
		"a database, moved":  {raw, true, nil},
		"a snapshot":         {summed, false, nil},
		"a snapshot, moved":  {summed, true, nil},
		"a damaged snapshot": {damaged(summed, 5<<20+2000), false, ErrCorrupt},
		"a damaged database": {withoutPages(raw), false, ErrCorrupt},
		"half a database":    {raw[:len(raw)/2&^4095], false, ErrCorrupt},
		"something else":     {make([]byte, 1<<20), false, ErrCorrupt},
		"nothing":            {nil, false, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			o := order(t, backup.Entry{})
			o.Bump, o.Move = 7, c.move
			path := filepath.Join(filepath.Dir(o.Dir), "db")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := FromFile(deadline(t), path, o)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v; want %v", err, c.err)
			}
			left, err := os.ReadFile(path)
			if c.move != errors.Is(err, os.ErrNotExist) || !c.move && string(left) != string(c.data) {
				t.Errorf("the file afterwards: %d bytes, %v", len(left), err)
			}
			if c.err != nil {
				nothing(t, o)
				return
			}
			if r.Reached != e.Revision || r.Revision != e.Revision+7 {
				t.Errorf("%+v", r)
			}
			if !reflect.DeepEqual(restored, dump(t, o.Dir)) {
				t.Error("a backup of the same database was restored to other buckets")
			}
			sound(t, o.Dir)
		})
	}
}

// withoutPages changes what the first pages say they are.
func withoutPages(data []byte) []byte {
	other := damaged(data, 2*4096+8)
	for page := 3; page < 200; page++ {
		other[page*4096+8] ^= 0x10
	}
	return other
}

func damaged(data []byte, at int) []byte {
	other := append([]byte(nil), data...)
	other[at] ^= 0x10
	return other
}

// A database that etcd has open is not copied: it would be torn.
func TestFromFileInUse(t *testing.T) {
	fixture(t)
	o := order(t, backup.Entry{})
	path := filepath.Join(filepath.Dir(o.Dir), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, move := range []bool{false, true} {
		o.Move = move
		if _, err := FromFile(deadline(t), path, o); err == nil || errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v", err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		nothing(t, o)
	}
}

// A bump begins at the revision that etcd would start with, which is the compaction's when no key is as new. etcdutl looks at
// the keys alone, and would give out revisions again.
func TestBumpBeginsAtTheCompaction(t *testing.T) {
	_, e := fixture(t)
	o := order(t, backup.Entry{})
	o.Bump = 7
	path := filepath.Join(filepath.Dir(o.Dir), "db")
	raw, err := os.ReadFile(filepath.Join(shared.dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(schema.Meta.Name()).Put(schema.FinishedCompactKeyName, revision(20_000, 0))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := FromFile(deadline(t), path, o)
	if err != nil || r.Reached != 20_000 || r.Revision != 20_007 {
		t.Errorf("reached %d, revision %d, %v", r.Reached, r.Revision, err)
	}
	meta := func(in map[string]map[string]string) string {
		return in["meta"][string(schema.ScheduledCompactKeyName)]
	}
	if got, want := meta(dump(t, byEtcdutl(t, path, o))), string(revision(e.Revision+7, 0)); got != want {
		t.Errorf("etcdutl compacts at %x, not at %x: is there a difference any more?", got, want)
	}
	if got, want := meta(dump(t, o.Dir)), string(revision(20_007, 0)); got != want {
		t.Errorf("compacted at %x, want %x", got, want)
	}
}
