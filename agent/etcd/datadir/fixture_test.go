package datadir

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// scratch is a directory that lasts as long as the tests.
var scratch string

// made are the data directories that the tests damage copies of: two members of two clusters, stopped in good order.
var made = sync.OnceValues(func() (dirs [2]string, err error) {
	for i := range dirs {
		dirs[i] = filepath.Join(scratch, fmt.Sprint(i))
		e, err := member1(dirs[i], "m1", fmt.Sprint("token", i))
		if err != nil {
			return dirs, err
		}
		err = fill(context.Background(), e, 700)
		e.Close()
		if err != nil {
			return dirs, err
		}
	}
	return dirs, nil
})

// fixture is a member's directory with sound data; other is the data of another cluster's member.
func fixture(t testing.TB) (dir, other string) {
	t.Helper()
	dirs, err := made()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	copyTree(t, dirs[0], Data(dir))
	if err := WriteMarker(dir, Marker{UID: "u", Generation: 1, Member: "m1", Token: "u-g1"}); err != nil {
		t.Fatal(err)
	}
	return dir, dirs[1]
}

// digest is of every file's path, size and content.
func digest(t testing.TB, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Mode(), info.ModTime())
		if !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		sum.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// keys are the keys of a database with their values, as of its last revision.
func keys(t testing.TB, path string) map[string]string {
	t.Helper()
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := map[string]string{}
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("key")).ForEach(func(k, v []byte) error {
			var kv mvccpb.KeyValue
			if err := kv.Unmarshal(v); err != nil {
				return err
			}
			if len(k) == 18 {
				delete(all, string(kv.Key))
			} else {
				all[string(kv.Key)] = string(kv.Value)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// walFiles are the log files of a data directory, in order.
func walFiles(t testing.TB, data string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(walDir(data), "*.wal"))
	if err != nil || len(names) == 0 {
		t.Fatalf("log files: %v, %v", names, err)
	}
	slices.Sort(names)
	return names
}

// change edits a file in place.
func change(t testing.TB, path string, edit func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, edit(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inBolt changes a database through bbolt.
func inBolt(t testing.TB, data string, edit func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(dbPath(data), 0o600, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(edit); err != nil {
		t.Fatal(err)
	}
}

// pagesOf are the pages of a kind that the database uses.
func pagesOf(t testing.TB, data, kind string) []int {
	t.Helper()
	db, err := bolt.Open(dbPath(data), 0, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var found []int
	err = db.View(func(tx *bolt.Tx) error {
		for id := 2; ; {
			info, err := tx.Page(id)
			if info == nil || err != nil {
				return err
			}
			if info.Type == kind {
				found = append(found, id)
			}
			id += 1 + info.OverflowCount
		}
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("pages of kind %s: %v, %v", kind, found, err)
	}
	return found
}

func has(text, part string) bool { return strings.Contains(text, part) }
