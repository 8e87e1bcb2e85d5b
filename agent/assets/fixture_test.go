package assets

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree writes files below a new directory and returns it.
func tree(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for path, data := range files {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// noise is n bytes that are different for every seed.
func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // documented never to fail
	return data
}

// published is a directory store that holds files.
func published(t testing.TB, files map[string][]byte) *Dir {
	t.Helper()
	store := NewDir(filepath.Join(t.TempDir(), "store"))
	if _, err := Publish(t.Context(), PublishOptions{Dir: tree(t, files), Target: store}); err != nil {
		t.Fatal(err)
	}
	return store
}

// opened is a store with a cache of its own unless options names one, and time-outs that suit a test.
func opened(t testing.TB, options Options) *Store {
	t.Helper()
	s, err := open(t, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, options Options) (*Store, error) {
	t.Helper()
	if options.CacheDir == "" {
		options.CacheDir = t.TempDir()
	}
	return Open(t.Context(), options)
}

func fetched(t testing.TB, s *Store, path string) []byte {
	t.Helper()
	o, err := s.Lookup(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.File(o))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
