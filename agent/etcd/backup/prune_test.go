package backup

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/store"
)

// shelf has two backups with two deltas each, as a listing shows them.
func shelf(t *testing.T) (*faulty, []Entry) {
	t.Helper()
	s := newStore(t)
	for _, revision := range []int64{10, 20} {
		e := Entry{Cluster: "main", ID: ID(1, noon, revision)}
		for _, key := range []string{e.SnapshotKey(), e.ManifestKey(), e.DeltaKey(revision, revision+5), e.DeltaKey(revision+5, revision+9)} {
			if _, err := s.Dir.Upload(t.Context(), key, strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := List(t.Context(), s, "main")
	if err != nil {
		t.Fatal(err)
	}
	return s, entries
}

// recorded notes what is removed, and fails as told.
func recorded(s *faulty, fail map[string]error) *[]string {
	var removed []string
	order := make(chan struct{}, 1)
	s.remove = func(ctx context.Context, key string) error {
		order <- struct{}{}
		defer func() { <-order }()
		name := key[strings.LastIndex(key, "/")+1:]
		if err := fail[name]; err != nil {
			return err
		}
		removed = append(removed, name)
		return s.Dir.Remove(ctx, key)
	}
	return &removed
}

const (
	early = "00000000000000000010-00000000000000000015.zst"
	late  = "00000000000000000015-00000000000000000019.zst"
)

func TestPrune(t *testing.T) {
	for name, c := range map[string]struct {
		fail       map[string]error
		deltasOnly bool
		removed    []string // the first two in this order
		locked     int
		err        error
		counts     int // backups that are still complete
	}{
		"all":             {removed: []string{"manifest.json", "snapshot.zst", early, late}, counts: 1},
		"deltas only":     {deltasOnly: true, removed: []string{early, late}, counts: 2},
		"manifest locked": {fail: map[string]error{"manifest.json": store.ErrLocked}, locked: 1, counts: 2},
		"manifest fails":  {fail: map[string]error{"manifest.json": errInjected}, err: errInjected, counts: 2},
		"snapshot locked": {
			fail: map[string]error{"snapshot.zst": store.ErrLocked}, removed: []string{"manifest.json", early, late}, locked: 1, counts: 1,
		},
		"snapshot fails": {fail: map[string]error{"snapshot.zst": errInjected}, removed: []string{"manifest.json"}, err: errInjected, counts: 1},
		"delta locked": {
			fail: map[string]error{early: store.ErrLocked}, removed: []string{"manifest.json", "snapshot.zst", late}, locked: 1, counts: 1,
		},
		"delta fails": {
			fail: map[string]error{early: errInjected}, removed: []string{"manifest.json", "snapshot.zst", late}, err: errInjected, counts: 1,
		},
		"gone already": {
			fail: map[string]error{"snapshot.zst": store.ErrAbsent}, removed: []string{"manifest.json", early, late}, counts: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, entries := shelf(t)
			removed := recorded(s, c.fail)
			got, err := Prune(t.Context(), s, []Removal{{Entry: entries[0], DeltasOnly: c.deltasOnly}})
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("error %v, want %v", err, c.err)
			}
			slices.Sort((*removed)[min(2, len(*removed)):])
			if c.deltasOnly || len(*removed) == 3 {
				slices.SortFunc(*removed, func(a, b string) int { return slices.Index(c.removed, a) - slices.Index(c.removed, b) })
			}
			if diff := cmp.Diff(c.removed, *removed); diff != "" {
				t.Error(diff)
			}
			if len(got.Locked) != c.locked || got.Objects != len(c.removed) || len(got.Backups) != 2-c.counts {
				t.Errorf("%+v", got)
			}
			left, err := List(t.Context(), s, "main")
			if err != nil || len(Candidates(left, 1)) != c.counts {
				t.Errorf("%d backups count, want %d (%v)", len(Candidates(left, 1)), c.counts, err)
			}
		})
	}
}

// The manifest goes first, always: whoever reads a manifest finds its snapshot.
func TestPruneOrder(t *testing.T) {
	s, entries := shelf(t)
	s.remove = func(ctx context.Context, key string) error {
		for _, e := range entries {
			_, manifest := open(s, ctx, e.ManifestKey())
			if _, err := open(s, ctx, e.SnapshotKey()); err != nil && manifest == nil {
				t.Errorf("before %s goes, %s has a manifest and no snapshot", key, e.ID)
			}
		}
		return s.Dir.Remove(ctx, key)
	}
	if _, err := Prune(t.Context(), s, []Removal{{Entry: entries[0]}, {Entry: entries[1]}}); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, s); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func open(s *faulty, ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := s.Dir.Open(ctx, key, 0, 0)
	if err == nil {
		_ = r.Close()
	}
	return r, err
}

// One backup that cannot be removed does not keep the others; a context that ends does.
func TestPruneGoesOn(t *testing.T) {
	s, entries := shelf(t)
	plan := []Removal{{Entry: entries[0]}, {Entry: entries[1]}}
	s.remove = func(ctx context.Context, key string) error {
		if strings.HasPrefix(key, entries[0].Key("")) {
			return errInjected
		}
		return s.Dir.Remove(ctx, key)
	}
	got, err := Prune(t.Context(), s, plan)
	if !errors.Is(err, errInjected) || !slices.Equal(got.Backups, []string{entries[1].ID}) {
		t.Errorf("%+v, %v", got, err)
	}
	s, _ = shelf(t)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	s.remove = func(context.Context, string) error {
		calls++
		cancel()
		return ctx.Err()
	}
	if _, err := Prune(ctx, s, plan); !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}
