package delta

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func events(revs ...int64) (all []*clientv3.Event) {
	for _, rev := range revs {
		all = append(all, &clientv3.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: rev}})
	}
	return all
}

func TestBufferTakesWhatFollows(t *testing.T) {
	for name, c := range map[string]struct {
		answers [][]int64
		want    int64 // 0: a gap
	}{
		"one after another":        {[][]int64{{6}, {7}, {8, 9}}, 9},
		"several changes at once":  {[][]int64{{6, 6, 6, 7}, {8}}, 8},
		"nothing":                  {[][]int64{{}}, 5},
		"a hole at the beginning":  {[][]int64{{7}}, 0},
		"a hole inside":            {[][]int64{{6, 8}}, 0},
		"a hole between":           {[][]int64{{6}, {8}}, 0},
		"the base once more":       {[][]int64{{5, 6}}, 0},
		"one answer twice":         {[][]int64{{6, 7}, {6, 7}}, 0},
		"a revision in two pieces": {[][]int64{{6, 7}, {7, 8}}, 0},
		"backwards":                {[][]int64{{6, 7, 6}}, 0},
	} {
		b := newBuffer(5, 1<<20)
		var err error
		for _, revs := range c.answers {
			if err = b.add(events(revs...)); err != nil {
				break
			}
		}
		if c.want == 0 && !errors.Is(err, ErrGap) || c.want != 0 && (err != nil || b.end() != c.want) {
			t.Errorf("%s: at %d, error %v; want %d", name, b.end(), err, c.want)
		}
	}
}

// However it is cut, no revision is split, nothing is lost, and what is held is counted right.
func TestBufferCutsBetweenRevisions(t *testing.T) {
	for seed := range 50 {
		r := random(seed)
		b := newBuffer(1, 4000)
		var want, got []int64
		at := int64(1)
		for rev := int64(2); rev < 60; rev++ {
			revs := slices.Repeat([]int64{rev}, 1+r.IntN(30))
			want = append(want, revs...)
			if err := b.add(events(revs...)); err != nil {
				t.Fatal(err)
			}
			for r.IntN(3) == 0 || rev == 59 {
				changes, last := b.cut()
				if len(changes) == 0 {
					break
				}
				bytes := 0
				for i := range changes {
					got = append(got, changes[i].Kv.ModRevision)
					bytes += size(&changes[i])
				}
				if changes[0].Kv.ModRevision != at+1 || changes[len(changes)-1].Kv.ModRevision != last {
					t.Fatalf("seed %d: cut %d..%d after %d", seed, changes[0].Kv.ModRevision, last, at)
				}
				if bytes > 2000 && last > at+1 {
					t.Fatalf("seed %d: %d bytes were cut at once", seed, bytes)
				}
				at = last
				b.stored()
			}
		}
		if !slices.Equal(want, got) || b.held() != 0 {
			t.Fatalf("seed %d: cut %v of %v, %d bytes left", seed, got, want, b.held())
		}
	}
}

func TestBufferCountsWhatFlies(t *testing.T) {
	b := newBuffer(1, 100*overhead)
	if err := b.add(events(2, 3, 4)); err != nil {
		t.Fatal(err)
	}
	all := b.held()
	if _, last := b.cut(); last != 4 || b.held() != all {
		t.Errorf("%d bytes after a cut up to %d, want %d: they are in memory until they are stored", b.held(), last, all)
	}
	if b.stored(); b.held() != 0 {
		t.Errorf("%d bytes when all is stored", b.held())
	}
	began := time.Now()
	b.await(t.Context(), 4, time.Hour) // has been seen
	b.await(t.Context(), math.MaxInt64, time.Millisecond)
	if time.Since(began) < time.Millisecond {
		t.Error("it did not wait")
	}
}

func TestPatience(t *testing.T) {
	type turn struct {
		began, ended     int // seconds
		caughtUp, silent bool
		over             bool
	}
	for name, turns := range map[string][]turn{
		"catches up each time":      {{1, 2, true, false, false}, {9, 10, true, false, false}, {30, 99, true, false, false}},
		"never catches up":          {{1, 2, false, false, false}, {9, 10, false, false, false}, {10, 11, false, false, true}},
		"catches up in between":     {{1, 9, false, false, false}, {9, 10, true, false, false}, {10, 19, false, false, false}, {19, 20, false, false, true}},
		"etcd never answers":        {{1, 9, false, true, false}, {9, 99, false, true, false}},
		"etcd answers again":        {{1, 9, false, true, false}, {50, 55, false, false, false}, {55, 60, false, false, false}, {60, 61, false, false, true}},
		"silent again for a moment": {{1, 9, false, false, false}, {9, 50, false, true, false}, {50, 55, false, false, false}, {55, 61, false, false, true}},
	} {
		start := time.Now()
		at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
		p := patience{limit: 10 * time.Second, since: start}
		for i, turn := range turns {
			if late, over := p.over(at(turn.began), at(turn.ended), turn.caughtUp, turn.silent); over != turn.over {
				t.Errorf("%s: turn %d, %s late: over: %t, want %t", name, i, late, over, turn.over)
			}
		}
	}
}
