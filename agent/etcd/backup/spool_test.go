package backup

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// A disk that is full all the same says so.
func TestSpoolFull(t *testing.T) {
	file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := &spool{File: file}
	stall := newWatchdog(time.Minute, func(error) {})
	err = s.fill(t.Context(), bytes.NewReader(sample(t)), 1<<40, stall, func() error { return nil })
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
}

// A disk that returns something else than was written spoils no backup: what etcd sent is known.
func TestSpoolChanged(t *testing.T) {
	raw := sample(t)
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stall := newWatchdog(time.Minute, func(error) {})
	if err := s.fill(t.Context(), bytes.NewReader(raw), 1<<40, stall, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	p := packer{spool: s, workers: 2, level: zstd.SpeedFastest}
	if chunks, err := p.pack(t.Context(), io.Discard); err != nil || len(chunks) != len(s.blake3) {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	if _, err := s.WriteAt([]byte{raw[ChunkSize+9] ^ 1}, ChunkSize+9); err != nil {
		t.Fatal(err)
	}
	if _, err := p.pack(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "other bytes than were written") {
		t.Errorf("error %v", err)
	}
}

// What a killed process left is removed; what belongs to others stays.
func TestSweep(t *testing.T) {
	s := newStore(t)
	o := options(t, replay(sample(t)), s)
	if err := os.MkdirAll(o.SpoolDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd-snapshot-123.spool", "other.db"} {
		if err := os.WriteFile(filepath.Join(o.SpoolDir, name), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := taker(t, o).Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(o.SpoolDir, "*"))
	if err != nil || !slices.Equal(left, []string{filepath.Join(o.SpoolDir, "other.db")}) {
		t.Errorf("left: %v, %v", left, err)
	}
}

// The revision is that with which etcd would start, compactions included; what is no database of etcd's, or torn, is an error.
func TestInspect(t *testing.T) {
	rev := func(main int64) []byte { return mvcc.RevToBytes(mvcc.Revision{Main: main}, mvcc.NewRevBytes()) }
	member := func(b *bolt.Bucket) error { return b.Put([]byte("1"), []byte(`{"id":1}`)) }
	for name, c := range map[string]struct {
		write   func(meta, keys, members *bolt.Bucket) error
		want    contents
		problem string
	}{
		"fresh": {func(_, _, members *bolt.Bucket) error { return member(members) }, contents{revision: 1, voters: 1}, ""},
		"compacted": {func(meta, keys, members *bolt.Bucket) error {
			return errors.Join(meta.Put(schema.FinishedCompactKeyName, rev(50)), meta.Put(schema.ScheduledCompactKeyName, rev(60)), keys.Put(rev(40), nil))
		}, contents{revision: 60, compact: 60, keys: 1}, ""},
		"keys": {func(meta, keys, members *bolt.Bucket) error {
			return errors.Join(meta.Put(schema.MetaStorageVersionName, []byte("3.6.0")), keys.Put(rev(70), nil), keys.Put(append(rev(71), 't'), nil))
		}, contents{revision: 71, keys: 2, storage: "3.6.0"}, ""},
		"no revision": {func(_, keys, _ *bolt.Bucket) error { return keys.Put([]byte("odd"), nil) }, contents{}, "torn"},
		"out of order": {func(_, keys, _ *bolt.Bucket) error {
			return errors.Join(keys.Put(rev(7), nil), keys.Put(append(rev(7), 't'), nil))
		}, contents{}, "out of order"},
		"no member": {func(_, _, members *bolt.Bucket) error { return members.Put([]byte("1"), []byte("{")) }, contents{}, "member 1"},
	} {
		path := filepath.Join(t.TempDir(), "db")
		writeDatabase(t, path, c.write)
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := inspect(file)
		if c.problem == "" && (err != nil || got != c.want) || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		_ = file.Close()
	}
}

func writeDatabase(t *testing.T, path string, write func(meta, keys, members *bolt.Bucket) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bolt.Tx) error {
		var made []*bolt.Bucket
		for _, name := range [][]byte{schema.Meta.Name(), schema.Key.Name(), schema.Members.Name()} {
			bucket, err := tx.CreateBucket(name)
			if err != nil {
				return err
			}
			made = append(made, bucket)
		}
		return write(made[0], made[1], made[2])
	}); err != nil {
		t.Fatal(err)
	}
}
