package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rekindle/agent/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lockKey = "locks/turn.json"

var errServer = errors.New("503")

func acquire(t *testing.T, l *store.Lock) (release func(context.Context) error, lost <-chan struct{}) {
	t.Helper()
	release, lost, err := l.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return release, lost
}

// TestLockExcludes has five nodes want a lock again and again, through a store that fails in every way that S3 does.
// One that is told that it lost the lock stops at once.
func TestLockExcludes(t *testing.T) {
	for seed := range uint64(20) {
		faults := float64(seed%5) / 10
		synctest.Test(t, func(t *testing.T) {
			s := newShaky(seed, faults)
			var mu sync.Mutex
			holders, turns, losses := map[string]bool{}, 0, 0
			var nodes sync.WaitGroup
			for i := range 5 {
				nodes.Go(func() {
					name := fmt.Sprintf("i-%d", i)
					l, _ := s.node(name)
					for range 5 {
						release, lost, err := l.Acquire(t.Context())
						if err != nil {
							if faults == 0 || !errors.Is(err, errServer) {
								t.Errorf("seed %d: %v", seed, err)
							}
							continue
						}
						mu.Lock()
						holders[name] = true
						turns++
						if len(holders) != 1 {
							t.Errorf("seed %d: at once: %v", seed, holders)
						}
						mu.Unlock()
						stopped := false
						select {
						case <-time.After(time.Duration(s.chance(1) * float64(3*time.Minute))):
						case <-lost:
							stopped = true
						}
						mu.Lock()
						delete(holders, name)
						if stopped {
							losses++
						}
						mu.Unlock()
						if err := release(t.Context()); err != nil && faults == 0 {
							t.Errorf("seed %d: %v", seed, err)
						}
					}
				})
			}
			nodes.Wait()
			if turns < 20 || faults == 0 && (turns != 25 || losses > 0) {
				t.Errorf("seed %d, %.0f %% faults: %d turns, %d of them lost", seed, 100*faults, turns, losses)
			}
		})
	}
}

// TestLockHandsOver gives a released lease to who waits within seconds, and keeps one that beats for hours. The store is
// a real one, in which equal contents are equal versions.
func TestLockHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := store.NewDir(t.TempDir())
		first, second := store.NewLock(records, lockKey, "i-1", nil), store.NewLock(records, lockKey, "i-2", nil)
		release, lost := acquire(t, first)
		got := make(chan func(context.Context) error)
		go func() {
			release, _, err := second.Acquire(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- release
		}()
		select {
		case <-got:
			t.Fatal("two hold it")
		case <-lost:
			t.Fatal("lost while the store answers")
		case <-time.After(3 * time.Hour):
		}
		began := time.Now()
		if err := release(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := <-got
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("handed over after %s", took)
		}
		if err := again(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestLockOutlivesItsHolder is taken over when its holder is gone for Expiry, and not before. The store is a real one.
func TestLockOutlivesItsHolder(t *testing.T) {
	for name, record := range map[string]string{
		"crashed": `{"holder":"i-gone","nonce":"n","since":"2037-01-01T00:00:00Z","beat":3}`,
		"garbage": `{`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				records := store.NewDir(t.TempDir())
				if _, err := records.Put(t.Context(), lockKey, []byte(record), ""); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				release, _ := acquire(t, store.NewLock(records, lockKey, "i-1", nil))
				if took := time.Since(began); took < store.Expiry || took > store.Expiry+10*time.Second {
					t.Errorf("taken over after %s", took)
				}
				if data, _, err := records.Get(t.Context(), lockKey); err != nil || !strings.Contains(string(data), `"i-1"`) {
					t.Errorf("%s, %v", data, err)
				}
				if err := release(t.Context()); err != nil {
					t.Error(err)
				}
				began = time.Now()
				release, _ = acquire(t, store.NewLock(records, lockKey, "i-2", nil))
				if took := time.Since(began); took > 0 {
					t.Errorf("a free one after %s", took)
				}
				if err := release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestLockKnowsItsOwn takes a lease for its own although the store said that it was not written.
func TestLockKnowsItsOwn(t *testing.T) {
	for _, said := range []error{store.ErrConflict, errServer} {
		synctest.Test(t, func(t *testing.T) {
			s := newShaky(1, 0)
			l, way := s.node("i-1")
			way.lose <- func() error { return said }
			began := time.Now()
			release, lost := acquire(t, l)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%v: acquired after %s", said, took)
			}
			way.lose <- func() error { return said } // to the first sign of life
			select {
			case <-lost:
				t.Errorf("%v: lost", said)
			case <-time.After(time.Hour):
			}
			way.lose <- func() error { return said } // to its release
			if err := release(t.Context()); err != nil || len(way.lose) > 0 {
				t.Error(err)
			}
			if !strings.Contains(string(s.data), `"holder":""`) {
				t.Errorf("%v: not released: %s", said, s.data)
			}
		})
	}
}

// TestLockLeavesNothing gives back what it got while nobody waited for it any more.
func TestLockLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShaky(1, 0)
		l, way := s.node("i-1")
		ctx, cancel := context.WithCancel(t.Context())
		way.lose <- func() error { cancel(); return ctx.Err() }
		if _, _, err := l.Acquire(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if !strings.Contains(string(s.data), `"holder":""`) {
			t.Errorf("a lease that nobody uses: %s", s.data)
		}
	})
}

// TestLockIsLost tells a holder that cannot reach the store, before another may have the lease; its release leaves that
// one alone.
func TestLockIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShaky(1, 0)
		paused, way := s.node("i-1")
		other, _ := s.node("i-2")
		release, lost := acquire(t, paused)
		got := make(chan time.Time, 1)
		done := make(chan func(context.Context) error, 1)
		go func() {
			release, _, err := other.Acquire(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- time.Now()
			done <- release
		}()
		<-time.After(time.Hour + 3*time.Second)
		way.mu.Lock()
		way.cut = make(chan struct{})
		way.mu.Unlock()
		began := time.Now()
		<-lost
		told := time.Now()
		if took := told.Sub(began); took > store.Expiry/2 || took < store.Expiry/2-store.Beat {
			t.Errorf("told after %s", took)
		}
		taken := <-got
		if taken.Sub(told) < store.Expiry/2-store.Beat {
			t.Errorf("taken over %s after the holder was told", taken.Sub(told))
		}
		if err := release(t.Context()); err == nil || !strings.Contains(err.Error(), "release") {
			t.Errorf("released through a store out of reach: %v", err)
		}
		way.mu.Lock()
		close(way.cut)
		way.cut = nil
		way.mu.Unlock()
		if err := release(t.Context()); err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(s.data), `"i-2"`) {
			t.Errorf("the other's lease is gone: %s", s.data)
		}
		if err := (<-done)(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestLockIsTaken tells a holder that was paused, and finds the lease with another, or removed, when it wakes up.
func TestLockIsTaken(t *testing.T) {
	for name, record := range map[string][]byte{"taken": []byte(`{"holder":"i-2","nonce":"m"}`), "removed": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShaky(1, 0)
				l, _ := s.node("i-1")
				release, lost := acquire(t, l)
				s.mu.Lock()
				s.data = record
				s.writes++
				s.mu.Unlock()
				began := time.Now()
				<-lost
				if took := time.Since(began); took > store.Beat+time.Second {
					t.Errorf("told after %s", took)
				}
				if err := release(t.Context()); err != nil || string(s.data) != string(record) {
					t.Errorf("%v: %s", err, s.data)
				}
			})
		})
	}
}

// TestLockEndsWithItsWait says who holds it, or why nobody knows; an unreadable store is never a free lock.
func TestLockEndsWithItsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShaky(1, 0)
		l, _ := s.node("i-1")
		release, _ := acquire(t, l)
		other, way := s.node("i-2")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errors.New("turn: nothing after 5m0s"))
		defer cancel()
		if _, _, err := other.Acquire(ctx); err == nil || !strings.Contains(err.Error(), "held by i-1 since ") || !strings.Contains(err.Error(), "turn: nothing after 5m0s") {
			t.Error(err)
		}
		if err := release(ctx); err != nil { // although ctx has ended
			t.Error(err)
		}
		s.faults = 1
		began := time.Now()
		if _, _, err := other.Acquire(t.Context()); !errors.Is(err, errServer) {
			t.Error(err)
		}
		if took := time.Since(began); took < store.Expiry || took > store.Expiry+20*time.Second {
			t.Errorf("gave up after %s", took)
		}
		s.faults = 0
		way.cut = make(chan struct{})
		began = time.Now()
		if _, _, err := other.Acquire(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*store.Expiry {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}
