package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errCut = errors.New("cut")

// plain is a member's directory whose data is one file.
func plain(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	if memory, err := os.MkdirTemp("/dev/shm", "datadir-"); err == nil { // where a sync costs nothing
		dir = memory
		t.Cleanup(func() { os.RemoveAll(memory) })
	}
	put(t, dir, content)
	return dir
}

func put(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.MkdirAll(snapDir(Data(dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dbPath(Data(dir)), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteMarker(dir, Marker{UID: content, Generation: 1, Member: "m", Token: "t"}); err != nil {
		t.Fatal(err)
	}
}

// cutAt sets data aside as a program would that dies before its n-th step; false: there are not so many.
func cutAt(dir string, now time.Time, n int) (steps []string, cut bool) {
	m := &mover{dir: dir, before: func(step string) error {
		if len(steps) == n {
			return errCut
		}
		steps = append(steps, step)
		return nil
	}}
	_, err := m.setAside(now, "because")
	return steps, errors.Is(err, errCut)
}

func TestSetAsideSyncsWhatItRenames(t *testing.T) {
	steps, _ := cutAt(plain(t, "a"), time.Now(), -1)
	want := []string{
		"make aside", "write why", "copy marker", "sync dir, with aside", "rename data", "sync aside, with the data",
		"sync dir, without the data", "remove marker", "sync dir, without marker",
	}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Error(diff)
	}
}

// Cut before any step, the data has its marker: in its place, or aside and there alone. The next call completes it, also
// when the first next call is cut, too.
func TestSetAsideMayBeCutAnywhere(t *testing.T) {
	now := time.Now()
	for first := 0; ; first++ {
		_, cut := cutAt(plain(t, "a"), now, first)
		for second := 0; ; second++ {
			dir := plain(t, "a")
			cutAt(dir, now, first)
			whereIs(t, dir, first, second)
			_, again := cutAt(dir, now.Add(time.Second), second)
			whereIs(t, dir, first, second)
			if _, err := SetAside(dir, now.Add(2*time.Second), "because"); err != nil {
				t.Fatalf("cut at %d and %d: %v", first, second, err)
			}
			all, err := Asides(dir)
			if err != nil || len(all) != 1 || all[0].Marker == nil || all[0].Marker.UID != "a" || all[0].Why != "because" {
				t.Fatalf("cut at %d and %d: asides %+v, %v", first, second, all, err)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 {
				t.Errorf("cut at %d and %d: left behind: %v, %v", first, second, left, err)
			}
			if !again {
				break
			}
		}
		if !cut {
			if first < 9 {
				t.Fatalf("only %d steps", first)
			}
			return
		}
	}
}

// whereIs fails unless data and marker are seen together, at one place.
func whereIs(t *testing.T, dir string, first, second int) {
	t.Helper()
	there, err := exists(Data(dir))
	if err != nil {
		t.Fatal(err)
	}
	all, err := Asides(dir)
	if err != nil {
		t.Fatal(err)
	}
	marker, err := current(dir)
	if err != nil {
		t.Fatal(err)
	}
	inPlace := there && marker != nil && len(all) == 0
	aside := !there && marker == nil && len(all) == 1 && all[0].Marker != nil
	if inPlace == aside {
		t.Fatalf("cut at %d and %d: data in place: %v, marker %v, asides %+v", first, second, there, marker, all)
	}
}

// A new life that began after a cut keeps its marker, whatever the old one was.
func TestACutIsCompletedWithoutTouchingWhatCameAfter(t *testing.T) {
	now := time.Now()
	dir := plain(t, "old")
	cutAt(dir, now, 7) // the marker is still there
	put(t, dir, "new")
	if m, err := current(dir); err != nil || m == nil || m.UID != "new" {
		t.Fatalf("marker %v, %v", m, err)
	}
	path, err := SetAside(dir, now, "again")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Asides(dir)
	if err != nil || len(all) != 2 || all[0].Marker.UID != "old" || all[1].Marker.UID != "new" || all[1].Path != path {
		t.Errorf("asides %+v, %v", all, err)
	}
}

// Set aside twice in one second, and with a clock that went back: the order stays that of the calls.
func TestAsidesAreInOrder(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	var want []string
	for i, at := range []time.Time{now, now, now, now.Add(-time.Hour), now.Add(time.Second)} {
		put(t, dir, string(rune('a'+i)))
		path, err := SetAside(dir, at, "")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, path)
	}
	all, err := Asides(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range all {
		got = append(got, a.Path)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if base := filepath.Base(got[3]); base != "aside-20261101T120000Z-0003" {
		t.Errorf("the fourth is %s", base)
	}
}

func TestWithoutDataNothingIsSetAside(t *testing.T) {
	dir := t.TempDir()
	if err := WriteMarker(dir, whole); err != nil {
		t.Fatal(err)
	}
	if path, err := SetAside(dir, time.Now(), ""); path != "" || err != nil {
		t.Errorf("%q, %v", path, err)
	}
	if m, err := current(dir); m == nil || err != nil {
		t.Errorf("the marker is gone: %v, %v", m, err)
	}
}

func TestPruneAsideKeepsWhatMayBeNeeded(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-48 * time.Hour)
	for i, at := range []time.Time{old, old.Add(time.Minute), old.Add(2 * time.Minute), time.Now().Add(-time.Hour), time.Now()} {
		put(t, dir, string(rune('a'+i)))
		if i == 1 {
			remove(t, MarkerPath(dir))
		}
		if _, err := SetAside(dir, at, ""); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := PruneAside(dir, 0, func(Marker) bool { return false }); len(removed) > 0 || err != nil {
		t.Errorf("without a newer backup: %v, %v", removed, err)
	}
	removed, err := PruneAside(dir, 24*time.Hour, func(m Marker) bool { return m.UID != "c" })
	if err != nil || len(removed) != 1 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if left := uids(t, dir); left != "-cde" {
		t.Errorf("left: %s", left)
	}
	if _, err := PruneAside(dir, 0, func(Marker) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if left := uids(t, dir); left != "-e" {
		t.Errorf("left after all may go: %s", left)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, prunedPrefix+"*")); len(names) > 0 {
		t.Errorf("leftovers: %v", names)
	}
}

func uids(t *testing.T, dir string) (list string) {
	t.Helper()
	all, err := Asides(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Bytes == 0 {
			t.Errorf("%s has no bytes", a.Path)
		}
		if a.Marker == nil {
			list += "-"
			continue
		}
		list += a.Marker.UID
	}
	return list
}
