package status

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitingOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(path, "v1", nil)
		defer b.Close()
		began := time.Now()
		wait := WaitingOn(WithWaits(t.Context(), b), "join: certificates", "a master that signs them")
		other := Waiting(WithWaits(t.Context(), b), "network", "a default route")
		defer other()
		time.Sleep(time.Second)
		wait.Update("10.0.1.5: Unavailable")
		wait.Update("10.0.2.7: UntaggedRole: https://x/?X-Amz-Signature=hunter2\n" + strings.Repeat("x", 1<<12))
		s := b.Snapshot()
		if got := s.Waits[0]; got.For != "a master that signs them" || !got.Since.Equal(began) || len(got.Last) > answerShown ||
			!strings.HasPrefix(got.Last, "10.0.2.7: UntaggedRole: https://x/") || strings.Contains(got.Last, "hunter2") {
			t.Errorf("%+v", got)
		}
		if s.Waits[1].Last != "" {
			t.Errorf("another wait heard it: %+v", s.Waits[1])
		}
		settle()
		if got := readFile(t, path).Waits[0].Last; got != s.Waits[0].Last {
			t.Errorf("the file says %q", got)
		}
		wait.Done()
		wait.Update("late")
		wait.Done()
		if got := b.Snapshot().Waits; len(got) != 1 || got[0].Name != "network" {
			t.Errorf("after it ended: %+v", got)
		}
	})
}

// onlyBegins is Waits and no more.
type onlyBegins struct{ waiting int }

func (o *onlyBegins) Begin(context.Context, string, string) WaitFunc {
	o.waiting++
	return func() { o.waiting-- }
}

func TestWaitingOnWithoutAnswers(t *testing.T) {
	var listener onlyBegins
	wait := WaitingOn(WithWaits(t.Context(), &listener), "a", "b")
	wait.Update("c")
	if listener.waiting != 1 {
		t.Errorf("%d waits", listener.waiting)
	}
	if wait.Done(); listener.waiting != 0 {
		t.Errorf("%d waits after the end", listener.waiting)
	}

	nobody := WaitingOn(t.Context(), "a", "b")
	nobody.Update("c")
	nobody.Done()
	var none *Board
	deaf := none.BeginOn(t.Context(), "a", "b")
	deaf.Update("c")
	deaf.Done()
}
