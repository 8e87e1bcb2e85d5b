package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/store"
)

var errLost = errors.New("503: the answer was lost")

// shelf is a store of one record, over a network that delays requests and answers. Those that draw picks are lost.
type shelf struct {
	draw func() bool // is an answer lost? Nil: none is

	mu     sync.Mutex
	data   []byte
	writes int
	lost   int
}

func (s *shelf) version() store.Version {
	if s.data == nil {
		return ""
	}
	return store.Version(fmt.Sprint(s.writes))
}

// answer is how an operation ends for who asked for it.
func (s *shelf) answer(err error) error {
	if err == nil && s.draw != nil && s.draw() {
		s.lost++
		return errLost
	}
	return err
}

func (s *shelf) Get(_ context.Context, key string) ([]byte, store.Version, error) {
	time.Sleep(rand.N(20 * time.Millisecond))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answer(nil); err != nil {
		return nil, "", err
	}
	if key != KeyringKey || s.data == nil {
		return nil, "", fmt.Errorf("%s: %w", key, store.ErrAbsent)
	}
	return s.data, s.version(), nil
}

func (s *shelf) Put(_ context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	time.Sleep(rand.N(20 * time.Millisecond))
	s.mu.Lock()
	defer s.mu.Unlock()
	if key != KeyringKey || was != s.version() {
		return "", fmt.Errorf("%s: %w", key, store.ErrConflict)
	}
	s.data = data
	s.writes++
	return s.version(), s.answer(nil)
}

func (s *shelf) List(context.Context, string, int) ([]string, error) {
	return nil, errors.New("nobody lists")
}
func (s *shelf) Delete(context.Context, string) error { return errors.New("nobody deletes") }

// TestEnsureKeyring: five masters that begin at once, and lose every third answer, come to one ring, which is written once.
func TestEnsureKeyring(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			records := &shelf{draw: func() bool { return random.IntN(3) == 0 }}
			rings := make([]Keyring, 5)
			var masters sync.WaitGroup
			for i := range rings {
				masters.Go(func() {
					for try := 0; ; try++ { // as an agent does
						ring, version, err := EnsureKeyring(t.Context(), records)
						if err == nil {
							if version == "" {
								t.Error("a ring without a version")
							}
							rings[i] = ring
							return
						}
						if !errors.Is(err, errLost) || try == 100 {
							t.Errorf("master %d: %v", i, err)
							return
						}
						time.Sleep(rand.N(time.Second))
					}
				})
			}
			masters.Wait()
			for i, ring := range rings {
				if diff := cmp.Diff(rings[0].Primary, ring.Primary); diff != "" || len(ring.Others) != 0 {
					t.Errorf("seed %d: masters 0 and %d have different rings: %s", seed, i, diff)
				}
			}
			if records.writes != 1 {
				t.Errorf("seed %d: the ring was written %d times", seed, records.writes)
			}
		})
	}
}

// A ring that cannot be read or understood is never replaced: the other nodes have it.
func TestEnsureKeyringKeepsWhatItCannotRead(t *testing.T) {
	for name, records := range map[string]*shelf{
		"unreadable": {draw: func() bool { return true }}, "not understood": {data: []byte(`{"primary":"x","keys":[],"more":1}`)},
	} {
		before := string(records.data)
		if ring, _, err := EnsureKeyring(t.Context(), records); err == nil {
			t.Errorf("%s: ring %v", name, ring)
		} else if name == "not understood" && !strings.HasPrefix(err.Error(), KeyringKey+": keyring: ") {
			t.Errorf("%s: %v", name, err)
		}
		if string(records.data) != before || records.writes != 0 {
			t.Errorf("%s: it was replaced", name)
		}
	}
}

func TestWriteKeyringMeetsAnotherWriter(t *testing.T) {
	records := new(shelf)
	ring, version, err := EnsureKeyring(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	next, err := ring.Rotate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteKeyring(t.Context(), records, next, version); err != nil {
		t.Fatal(err)
	}
	if err := WriteKeyring(t.Context(), records, ring, version); !errors.Is(err, store.ErrConflict) {
		t.Errorf("an older ring replaced a newer one: %v", err)
	}
	if err := WriteKeyring(t.Context(), records, Keyring{}, version); err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("a ring without a key: %v", err)
	}
}

// TestSteps goes from one key to another step by step. Nodes read the ring one after the other, so at any moment some have the
// ring before a step and some the one after it: either understands what the other one encrypts.
func TestSteps(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, clock := range map[string]time.Duration{"later": time.Hour, "in the same second": 0, "by a clock that is behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			before := NewKeyring(now)
			old := before.Primary.ID
			if _, step, ok := before.Next(); ok {
				t.Fatalf("one key, and a step: %s", step)
			}
			ring, err := before.Rotate(now.Add(clock))
			if err != nil {
				t.Fatal(err)
			}
			if len(ring.Others) != 1 || ring.Primary.ID != old {
				t.Fatalf("rotation began with %v", ring)
			}
			fresh := ring.Others[0].ID
			understood(t, before, ring)
			if _, err := ring.Rotate(now.Add(clock)); !errors.Is(err, ErrRotating) {
				t.Errorf("a second rotation: %v", err)
			}
			var steps []string
			for len(steps) < 5 {
				next, step, ok := ring.Next()
				if !ok {
					break
				}
				understood(t, ring, next)
				steps, ring = append(steps, step), next
			}
			want := []string{"encrypting with key " + fresh, "key " + old + " is understood no longer"}
			if diff := cmp.Diff(want, steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if ring.Primary.ID != fresh || len(ring.Others) != 0 {
				t.Errorf("rotation ended with %v", ring)
			}
		})
	}
}

// A ring of three, as an operator in a hurry makes it, comes to its newest key.
func TestStepsOfThree(t *testing.T) {
	ring := NewKeyring(time.Unix(1000, 0))
	for made := range int64(2) {
		var err error
		if ring, err = ring.WithNew(time.Unix(2000+made, 0)); err != nil {
			t.Fatal(err)
		}
	}
	newest := ring.Others[1].ID
	steps := 0
	for ; steps < 5; steps++ {
		next, _, ok := ring.Next()
		if !ok {
			break
		}
		understood(t, ring, next)
		ring = next
	}
	if steps != 3 || ring.Primary.ID != newest || len(ring.Others) != 0 {
		t.Errorf("after %d steps: %v", steps, ring)
	}
}

// understood checks that nodes with either ring understand each other.
func understood(t *testing.T, a, b Keyring) {
	t.Helper()
	for _, pair := range [][2]Keyring{{a, b}, {b, a}} {
		found := false
		for _, key := range pair[1].all() {
			found = found || key == pair[0].Primary
		}
		if !found {
			t.Errorf("what is encrypted with key %s is not understood by a node with %v", pair[0].Primary.ID, pair[1])
		}
	}
}
