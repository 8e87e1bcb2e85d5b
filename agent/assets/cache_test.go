package assets

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

func sizeOfFS(t *testing.T, dir string) uint64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return s.Blocks * uint64(s.Bsize)
}

func TestWarmCacheNeedsNoSource(t *testing.T) {
	store, data, o := bigStore(t)
	src := &faulty{Source: store, name: "store"}
	cache := t.TempDir()
	opened(t, Options{Sources: []Source{src}, CacheDir: cache})
	fetched(t, opened(t, Options{Sources: []Source{src}, CacheDir: cache}), "big")
	src.asked = nil
	s := opened(t, Options{Sources: []Source{src}, CacheDir: cache})

	if err := s.Fetch(t.Context(), o); err != nil || src.asked != nil {
		t.Errorf("a warm fetch asked for %+v, %v", src.asked, err)
	}
	// An image builder links it.
	if err := os.Link(s.File(o), filepath.Join(cache, "link")); err != nil || !s.cache.has(o) {
		t.Errorf("a linked object does not count: %v", err)
	}
	if err := s.cache.stamped(o, true); err != nil {
		t.Fatal(err)
	}
	// Somebody restores the times of what he edited, or seems to.
	info, err := os.Stat(s.File(o))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(s.File(o), info.ModTime(), info.ModTime()); err != nil || s.cache.has(o) {
		t.Errorf("an object with restored times counts: %v", err)
	}
	// Somebody touches it: the stamp is void, the content is looked at, nothing is transferred.
	if err := os.Chtimes(s.File(o), time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if s.cache.has(o) {
		t.Fatal("a touched object passes for verified")
	}
	if err := s.Fetch(t.Context(), o); err != nil || src.asked != nil || !s.cache.has(o) {
		t.Errorf("a touched object: asked for %+v, %v", src.asked, err)
	}
	// Somebody damages it, and its size stays: one chunk is transferred.
	flip(t, s.File(o), 3*ChunkSize)
	if got := fetched(t, s, "big"); !bytes.Equal(got, data) {
		t.Error("a damaged object was not mended")
	}
	if got := src.bytesAsked(); got != ChunkSize {
		t.Errorf("mending one byte transferred %d bytes, want one chunk", got)
	}
	// Somebody cuts it off.
	if err := os.Truncate(s.File(o), ChunkSize+3); err != nil {
		t.Fatal(err)
	}
	if got := fetched(t, s, "big"); !bytes.Equal(got, data) {
		t.Error("a truncated object was not mended")
	}
}

func TestPrune(t *testing.T) {
	old := published(t, map[string][]byte{"a": []byte("a"), "b": []byte("old"), "c": []byte("in use")})
	cache := t.TempDir()
	s := opened(t, Options{Sources: []Source{old}, CacheDir: cache})
	if err := s.Prefetch(t.Context(), "."); err != nil {
		t.Fatal(err)
	}
	before := s.Manifest()
	inUse, _ := before.Lookup("c")
	s = opened(t, Options{Sources: []Source{published(t, map[string][]byte{"a": []byte("a"), "b": []byte("new")})}, CacheDir: cache})
	freed, err := s.Prune(t.Context(), inUse)
	if err != nil || freed == 0 {
		t.Fatalf("Prune = %d, %v", freed, err)
	}
	for _, o := range before.Objects {
		_, err := os.Stat(s.File(o))
		if gone := errors.Is(err, fs.ErrNotExist); gone != (o.Path == "b") {
			t.Errorf("%s: gone is %v", o.Path, gone)
		}
	}
	if left, _ := filepath.Glob(cache + "/objects/*.stamp"); len(left) != 2 {
		t.Errorf("stamps left: %q, want those of a and c", left)
	}
}

// TestPruneSweeps: what a killed process had not finished to write goes; what another is writing now stays.
func TestPruneSweeps(t *testing.T) {
	cache := t.TempDir()
	killed, busy := filepath.Join(cache, tempPrefix+"1"), filepath.Join(cache, tempPrefix+"2")
	if err := os.WriteFile(killed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(killed, time.Time{}, time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	s := opened(t, Options{Sources: []Source{published(t, map[string][]byte{"a": []byte("a")})}, CacheDir: cache})
	if err := os.WriteFile(busy, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(busy, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(cache + "/" + tempPrefix + "*"); !slices.Equal(left, []string{busy}) {
		t.Errorf("left: %q, want %q", left, busy)
	}
}

// TestPruneWaitsForFetch: an object that another process is about to use is not taken away under its hands.
func TestPruneWaitsForFetch(t *testing.T) {
	s := opened(t, Options{Sources: []Source{published(t, map[string][]byte{"a": []byte("a")})}})
	unlock, err := s.cache.lock(t.Context(), syscall.LOCK_SH)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(within(t, 50*time.Millisecond)); err == nil {
		t.Error("pruned while somebody fetches")
	}
	unlock()
	if _, err := s.Prune(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSettle(t *testing.T) {
	store, data, o := bigStore(t)
	src := &faulty{Source: store, name: "store"}
	cache := t.TempDir()
	reboot := func(options Options) *Store {
		options.Sources, options.CacheDir = []Source{src}, cache
		s := opened(t, options)
		s.cache.boot = t.Name() + time.Now().String()
		return s
	}
	s := reboot(Options{SyncLater: true})
	if got := fetched(t, s, "big"); !bytes.Equal(got, data) || !s.cache.has(o) || !s.cache.unsettled(o) {
		t.Error("a fetched object that is not synced should count in this boot")
	}
	src.asked = nil
	s = reboot(Options{SyncLater: true})
	if s.cache.has(o) {
		t.Error("an object that was never synced counts after a crash")
	}
	if got := fetched(t, s, "big"); !bytes.Equal(got, data) || src.asked != nil {
		t.Errorf("after a crash that lost nothing %+v was asked for, want the object read again", src.asked)
	}
	if err := s.Settle(t.Context()); err != nil || s.cache.unsettled(o) {
		t.Errorf("Settle: %v", err)
	}
	if s = reboot(Options{}); !s.cache.has(o) {
		t.Error("a settled object does not count after a reboot")
	}
	// A caller that does not sync later settles what another left.
	if err := s.cache.stamped(o, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Fetch(t.Context(), o); err != nil || s.cache.unsettled(o) {
		t.Errorf("Fetch left the object unsettled: %v", err)
	}
}
