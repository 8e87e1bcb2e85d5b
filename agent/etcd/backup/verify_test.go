package backup

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"rekindle/agent/store"
)

// stored is a backup in a directory, and where its snapshot lies.
func stored(t *testing.T) (s *faulty, entry Entry, path string) {
	t.Helper()
	raw := sample(t)
	dir := t.TempDir()
	s = &faulty{Dir: store.NewDir(dir)}
	entry, _, err := taker(t, options(t, replay(raw), s)).Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s, entry, filepath.Join(dir, filepath.FromSlash(entry.SnapshotKey()))
}

func TestVerifyDamage(t *testing.T) {
	s, entry, path := stored(t)
	manifest, err := ReadManifest(t.Context(), s, entry)
	if err != nil {
		t.Fatal(err)
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := len(manifest.Chunks) - 1
	// The last byte of a chunk is in its checksum. A bit further in may change nothing: a match may begin at another zero.
	end := func(i int) int { return int(manifest.Chunks[i].Offset+manifest.Chunks[i].Length) - 1 }
	swapped := slices.Concat(good[manifest.Chunks[1].Offset:], good[:manifest.Chunks[1].Offset])
	for name, c := range map[string]struct {
		data    []byte
		damaged int
	}{
		"sound":       {good, 0},
		"first chunk": {flipped(good, end(0)), 1},
		"two chunks":  {flipped(flipped(good, end(0)), end(last)), 2},
		"swapped":     {swapped, last + 1},
		"zeroes":      {make([]byte, len(good)), last + 1},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			report, err := Verify(t.Context(), s, entry, nil)
			if len(report.Damaged) != c.damaged || errors.Is(err, ErrDamaged) != (c.damaged > 0) || c.damaged == 0 && err != nil {
				t.Errorf("damaged %q, error %v; want %d", report.Damaged, err, c.damaged)
			}
			if !slices.IsSortedFunc(report.Damaged, strings.Compare) {
				t.Errorf("not in order: %q", report.Damaged)
			}
		})
	}
	if err := os.WriteFile(path, good[:len(good)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := List(t.Context(), s, "main")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), s, entries[0], nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("one byte less: %v", err)
	}
}

// A chunk is checked by either digest alone.
func TestChunkDigests(t *testing.T) {
	data, other := []byte("of the database"), []byte("of another")
	for _, byBLAKE3 := range []bool{true, false} {
		c := Chunk{SHA256: sha256Of(data), BLAKE3: blake3Of(data)}
		if err := c.check(data, byBLAKE3); err != nil {
			t.Error(err)
		}
		if err := c.check(other, byBLAKE3); !errors.Is(err, ErrDamaged) {
			t.Errorf("blake3 %v: error %v", byBLAKE3, err)
		}
	}
}

// A store that fails for a while is asked again; one that goes on failing says nothing about the backup; one without the object
// says that it is gone.
func TestVerifyUnknown(t *testing.T) {
	s, entry, _ := stored(t)
	manifest, err := ReadManifest(t.Context(), s, entry)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		failures int // of each range
		fail     error
		is       error
	}{
		"for a while": {failures: 3, fail: errInjected},
		"for ever":    {failures: 9, fail: errInjected, is: errInjected},
		"cut":         {failures: 9, fail: io.ErrUnexpectedEOF, is: io.ErrUnexpectedEOF},
		"gone":        {failures: 1, fail: store.ErrAbsent, is: store.ErrAbsent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				failed := map[int64]int{}
				s := &faulty{Dir: s.Dir}
				s.open = func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
					mu.Lock()
					defer mu.Unlock()
					if failed[offset]++; key == entry.SnapshotKey() && failed[offset] <= c.failures {
						return io.NopCloser(errorReader{c.fail}), nil
					}
					return s.Dir.Open(ctx, key, offset, length)
				}
				report, err := Verify(t.Context(), s, entry, nil)
				if !errors.Is(err, c.is) || c.is == nil && err != nil || errors.Is(err, ErrDamaged) || len(report.Damaged) > 0 {
					t.Errorf("error %v, damaged %q", err, report.Damaged)
				}
				if c.is == nil && len(failed) < len(manifest.Chunks) {
					t.Errorf("only %d ranges were read", len(failed))
				}
			})
		})
	}
}

func TestVerifyDeltas(t *testing.T) {
	s, entry, _ := stored(t)
	r := entry.Revision
	entry.Deltas = []DeltaEntry{
		{"a", r, r + 5, 1}, {"b", r, r + 3, 1}, {"c", r + 5, r + 9, 1}, {"d", r + 10, r + 12, 1}, {"e", r + 12, r + 14, 1},
	}
	var asked []string
	check := func(answers map[string]error) func(context.Context, DeltaEntry) error {
		asked = nil
		return func(_ context.Context, d DeltaEntry) error {
			asked = append(asked, d.Key)
			return answers[d.Key]
		}
	}
	report, err := Verify(t.Context(), s, entry, check(nil))
	if err != nil || report.Deltas != 3 || report.Reaches != r+9 || !slices.Equal(report.Stranded, entry.Deltas[3:]) {
		t.Errorf("%+v, %v", report, err)
	}
	if !slices.Equal(asked, []string{"a", "b", "c"}) {
		t.Errorf("asked for %v", asked)
	}
	report, err = Verify(t.Context(), s, entry, check(map[string]error{"a": Damaged(errInjected)}))
	if !errors.Is(err, ErrDamaged) || len(report.Damaged) != 1 || report.Deltas != 3 {
		t.Errorf("%+v, %v", report, err)
	}
	_, err = Verify(t.Context(), s, entry, check(map[string]error{"b": errInjected}))
	if !errors.Is(err, errInjected) || errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
}
