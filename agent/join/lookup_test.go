package join

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fleet is EC2 with a latency; it knows every instance but those that begin with "x".
type fleet struct {
	mu      sync.Mutex
	calls   []int // the sizes
	running int
	most    int
	latency time.Duration
	err     error
}

func (f *fleet) ask(ctx context.Context, ids []string) (map[string]Instance, error) {
	f.mu.Lock()
	f.calls = append(f.calls, len(ids))
	f.running++
	f.most = max(f.most, f.running)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.running--; f.mu.Unlock() }()
	if f.latency > 0 { // see golang/go#78156
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(f.latency):
		}
	}
	found := map[string]Instance{}
	for _, id := range ids {
		if !strings.HasPrefix(id, "x") {
			found[id] = Instance{ID: id}
		}
	}
	return found, f.err
}

func TestLookupsAreBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{latency: 200 * time.Millisecond}
		l := newLookups(f.ask)
		began := time.Now()
		var wg sync.WaitGroup
		for n := range 250 {
			wg.Go(func() {
				id := fmt.Sprint("i-", n)
				if i, ok, err := l.find(t.Context(), id); err != nil || !ok || i.ID != id {
					t.Errorf("%s: %v, %t, %v", id, i, ok, err)
				}
			})
		}
		wg.Wait()
		if fmt.Sprint(f.calls) != "[100 100 50]" || f.most != 1 {
			t.Errorf("calls of %v, %d at once", f.calls, f.most)
		}
		if took := time.Since(began); took != 600*time.Millisecond {
			t.Errorf("took %s", took)
		}
		l.wg.Wait()
	})
}

func TestLookupAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{latency: 100 * time.Millisecond}
		l := newLookups(f.ask)
		began := time.Now()
		if _, ok, err := l.find(t.Context(), "i-1"); !ok || err != nil {
			t.Error(ok, err)
		}
		if took := time.Since(began); took != lookupPause+f.latency {
			t.Errorf("took %s", took)
		}
		if _, ok, err := l.find(t.Context(), "x-1"); ok || err != nil {
			t.Error("unknown:", ok, err)
		}
		f.err = errors.New("throttled")
		if _, _, err := l.find(t.Context(), "i-1"); err == nil {
			t.Error("no error")
		}
		if len(f.calls) != 3 {
			t.Errorf("%d calls: answers are not kept", len(f.calls))
		}
	})
}

// TestLookupOfManyForOne: the same instance asked for at once is one id.
func TestLookupOfManyForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{}
		l := newLookups(f.ask)
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				if _, ok, err := l.find(t.Context(), "i-1"); !ok || err != nil {
					t.Error(ok, err)
				}
			})
		}
		wg.Wait()
		if fmt.Sprint(f.calls) != "[1]" {
			t.Errorf("calls of %v", f.calls)
		}
	})
}

// TestLookupsOutliveTheFirst: who leaves does not take the others' answer along, and the last one ends the question.
func TestLookupsOutliveTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{latency: time.Second}
		l := newLookups(f.ask)
		first, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer leave()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := l.find(first, "i-1"); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, ok, err := l.find(t.Context(), "i-2"); !ok || err != nil {
				t.Error(ok, err)
			}
		})
		wg.Wait()

		f.latency = time.Hour
		began := time.Now()
		alone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if _, _, err := l.find(alone, "i-1"); err == nil {
			t.Error("no error")
		}
		l.wg.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("the question went on for %s", took)
		}
		if _, _, err := l.find(t.Context(), "i-1"); err == nil || time.Since(began) != time.Second+lookupTime {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
