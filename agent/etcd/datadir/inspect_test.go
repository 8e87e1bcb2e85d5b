package datadir

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInspectSeesWhoseDataItIsAndHowFarItGoes(t *testing.T) {
	t.Parallel()
	dir, _ := fixture(t)
	found, err := Inspect(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := Found{
		State:    Sound,
		Marker:   &Marker{UID: "u", Generation: 1, Member: "m1", Token: "u-g1"},
		Position: Position{Term: 2, Index: found.Position.Index, Revision: 702}, // 700 keys and a deletion, from 2
	}
	if diff := cmp.Diff(want, found); diff != "" || found.Position.Index < 702 {
		t.Errorf("%d %s", found.Position.Index, diff)
	}
}

// A marker beside another member's data is a mix-up that only the operator can undo: neither may start, or be set aside.
func TestTheMarkerOfAnotherMemberIsAnError(t *testing.T) {
	t.Parallel()
	dir, _ := fixture(t)
	if err := WriteMarker(dir, Marker{UID: "u", Generation: 1, Member: "m2", Token: "u-g1"}); err != nil {
		t.Fatal(err)
	}
	if found, err := Inspect(t.Context(), dir, Options{}); err == nil || !has(err.Error(), "the data is of member m1") {
		t.Errorf("found %+v, %v", found, err)
	}
}

func TestADirectoryThatIsNotThereIsEmpty(t *testing.T) {
	t.Parallel()
	found, err := Inspect(t.Context(), t.TempDir()+"/etcd/main", Options{})
	if diff := cmp.Diff(Found{State: Empty}, found); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
