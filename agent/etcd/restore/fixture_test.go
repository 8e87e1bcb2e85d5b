package restore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/verify"
	"go.uber.org/zap"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/restore/restoretest"
	"rekindle/agent/store"
)

// A child of this test binary restores until it is killed: see crash_test.go.
func TestMain(m *testing.M) {
	if os.Getenv(cutEnv) != "" {
		cut()
		return
	}
	code := m.Run()
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

const (
	fixtureKeys = 9000 // three chunks
	fixtureSize = 1700
)

// shared is a backup that all tests read, of a database that etcd's own storage wrote.
var shared struct {
	once  sync.Once
	dir   string
	entry backup.Entry
	err   error
}

func fixture(t testing.TB) (store.Blobs, backup.Entry) {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "restore-"); shared.err != nil {
			return
		}
		db := filepath.Join(shared.dir, "db")
		if shared.err = restoretest.Database(db, fixtureKeys, fixtureSize); shared.err == nil {
			shared.entry, shared.err = restoretest.Store(context.Background(), store.NewDir(shared.dir), db)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return store.NewDir(shared.dir), shared.entry
}

// order restores e to a new directory.
func order(t testing.TB, e backup.Entry) Order {
	t.Helper()
	dir := t.TempDir()
	return Order{Backup: e, Dir: filepath.Join(dir, "data"), Part: filepath.Join(dir, "data.part"),
		Name: "main-1", PeerURL: "http://127.0.0.1:2380", Token: "t-g4"}
}

// deadline is more than any test needs.
func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// nothing fails the test if a restore that failed left something.
func nothing(t testing.TB, o Order) {
	t.Helper()
	for _, path := range []string{o.Dir, o.Part} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
}

// whole fails the test unless o.Dir is a data directory with all keys of the fixture, and so many revisions more.
func whole(t testing.TB, o Order, more int) {
	t.Helper()
	if _, err := os.Lstat(o.Part); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there: %v", o.Part, err)
	}
	if got := len(dump(t, o.Dir)["key"]); got != fixtureKeys+more {
		t.Errorf("%d revisions of keys, want %d", got, fixtureKeys+more)
	}
}

// dump is everything in a data directory's database: bucket, key, value.
func dump(t testing.TB, dir string) map[string]map[string]string {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, "member", "snap", "db"), 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := map[string]map[string]string{}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			all[string(name)] = map[string]string{}
			return bucket.ForEach(func(k, v []byte) error {
				all[string(name)][string(k)] = string(v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sound fails the test unless etcd's own verification is satisfied with a data directory.
func sound(t testing.TB, dir string) {
	t.Helper()
	if err := checkPages(filepath.Join(dir, "member", "snap", "db")); err != nil {
		t.Error(err)
	}
	if err := verify.Verify(verify.Config{DataDir: dir, ExactIndex: true, Logger: zap.NewNop()}); err != nil {
		t.Error(err)
	}
}

// faulty is a store whose answers to Open a test changes. n counts the requests for a key, from 1.
type faulty struct {
	all    // the store as it is
	change func(n int, key string, offset int64, body io.ReadCloser) (io.ReadCloser, error)

	mu sync.Mutex
	n  map[string]int
}

type all = store.Blobs

func (f *faulty) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	f.mu.Lock()
	if f.n == nil {
		f.n = map[string]int{}
	}
	f.n[key]++
	n := f.n[key]
	f.mu.Unlock()
	body, err := f.all.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	body, err = f.change(n, key, offset, body)
	if s, ok := body.(silent); ok {
		return silent{s.ReadCloser, ctx}, err
	}
	return body, err
}
