package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rekindle/agent/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store that behaves as fault says: it is asked before each call and, for a Put, again after the write.
type memory struct {
	fault func(step string) error

	mu     sync.Mutex
	data   []byte
	nth    int
	writes atomic.Int32
	reads  atomic.Int32
}

func (m *memory) fails(step string) error {
	if m.fault == nil {
		return nil
	}
	return m.fault(step)
}

func (m *memory) version() store.Version {
	if m.data == nil {
		return ""
	}
	return store.Version(fmt.Sprint(m.nth))
}

func (m *memory) Get(context.Context, string) ([]byte, store.Version, error) {
	m.reads.Add(1)
	if err := m.fails("get"); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		return nil, "", store.ErrAbsent
	}
	return slices.Clone(m.data), m.version(), nil
}

func (m *memory) Put(_ context.Context, _ string, data []byte, was store.Version) (store.Version, error) {
	if err := m.fails("put"); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if was != m.version() {
		return "", store.ErrConflict
	}
	m.data, m.nth = slices.Clone(data), m.nth+1
	m.writes.Add(1)
	return m.version(), m.fails("response")
}

func (m *memory) List(context.Context, string, int) ([]string, error) {
	return nil, errors.New("nobody lists")
}
func (m *memory) Delete(context.Context, string) error { return errors.New("nobody deletes") }

func master(n int) Seed {
	return Seed{Instance: fmt.Sprintf("i-%d", n), JoinPort: 3988,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})}}
}

func announce(t *testing.T, records store.Records, self Seed) {
	t.Helper()
	if err := Announce(t.Context(), records, self); err != nil {
		t.Fatal(err)
	}
}

func instances(t *testing.T, records store.Records) string {
	t.Helper()
	seeds, err := Seeds(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range seeds {
		names = append(names, s.Instance)
	}
	return strings.Join(names, " ")
}

func TestAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		if got := instances(t, m); got != "" {
			t.Errorf("an absent record has %q", got)
		}
		announce(t, m, master(1))
		time.Sleep(time.Minute)
		announce(t, m, master(2))
		if got := instances(t, m); got != "i-2 i-1" {
			t.Errorf("two masters: %q, want the newest first", got)
		}
		time.Sleep(50 * time.Minute)
		announce(t, m, master(1))
		if n := m.writes.Load(); n != 2 {
			t.Errorf("%d writes; the third was of an equal seed that is not an hour old", n)
		}
		time.Sleep(10 * time.Minute)
		announce(t, m, master(1))
		if got := instances(t, m); got != "i-1 i-2" {
			t.Errorf("after an hour: %q, want i-1 renewed", got)
		}
		moved := master(1)
		moved.JoinPort = 4000
		announce(t, m, moved)
		if seeds, _ := Seeds(t.Context(), m); seeds[0].JoinPort != 4000 || len(seeds) != 2 {
			t.Errorf("a change is written at once: %v", seeds)
		}
		reused := master(3)
		reused.Addresses = append(reused.Addresses, master(2).Addresses...)
		announce(t, m, reused)
		if got := instances(t, m); got != "i-3 i-1" {
			t.Errorf("i-3 has the address of i-2: %q", got)
		}
		time.Sleep(31 * 24 * time.Hour)
		announce(t, m, master(1))
		if got := instances(t, m); got != "i-1" {
			t.Errorf("a month later: %q, want the old ones gone", got)
		}
	})
}

func TestAnnounceReusedWithinTheHour(t *testing.T) {
	m := &memory{}
	announce(t, m, master(1))
	other := master(2)
	announce(t, m, other)
	// Somebody put i-1's address into i-2's seed: i-1 has it now, however fresh both are.
	other.Addresses = append(other.Addresses, master(1).Addresses...)
	m.data, _ = encode([]Seed{{other.Instance, other.Addresses, 1, time.Now()}, {"i-1", master(1).Addresses, 3988, time.Now()}})
	announce(t, m, master(1))
	if got := instances(t, m); got != "i-1" {
		t.Errorf("%q, want i-1 alone", got)
	}
}

func TestAnnounceBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		for n := range 40 {
			announce(t, m, master(n))
			time.Sleep(time.Second)
		}
		seeds, err := Seeds(t.Context(), m)
		if err != nil || len(seeds) != maxSeeds || seeds[0].Instance != "i-39" || seeds[31].Instance != "i-8" {
			t.Errorf("%d seeds, error %v: %v", len(seeds), err, seeds)
		}
	})
}

func TestAnnounceClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		ahead, own := master(1), master(2)
		ahead.Announced, own.Announced = time.Now().AddDate(10, 0, 0), time.Now().AddDate(9, 0, 0)
		m.data, _ = encode([]Seed{ahead, own})
		announce(t, m, master(2))
		seeds, _ := Seeds(t.Context(), m)
		if len(seeds) != 2 || seeds[0].Announced.After(time.Now()) || seeds[1].Announced.After(time.Now()) {
			t.Errorf("seeds from the future stay there: %v", seeds)
		}
		time.Sleep(31 * 24 * time.Hour)
		announce(t, m, master(2))
		if got := instances(t, m); got != "i-2" {
			t.Errorf("%q: the seed from the future did not age", got)
		}
	})
}

func TestAnnounceRefusesNonsense(t *testing.T) {
	for name, self := range map[string]Seed{
		"no instance": {Addresses: master(1).Addresses}, "no address": {Instance: "i-1"},
		"a zero address": {Instance: "i-1", Addresses: []netip.Addr{{}}},
		"0.0.0.0":        {Instance: "i-1", Addresses: []netip.Addr{netip.IPv4Unspecified()}},
		"a port":         {Instance: "i-1", Addresses: master(1).Addresses, JoinPort: 70000},
	} {
		m := &memory{}
		if err := Announce(t.Context(), m, self); err == nil || m.reads.Load() > 0 {
			t.Errorf("%s: error %v after %d reads", name, err, m.reads.Load())
		}
	}
}

func TestUnparsable(t *testing.T) {
	for _, text := range []string{
		"", "{", `{"seeds":[{"instance":"i-1"}]}`, `{"seeds":[{"instance":"i-1","addresses":["ten"]}]}`,
		`{"seeds":[{"addresses":["10.0.0.1"]}]}`, `{"seeds":[{"instance":"i-1","addresses":["169.254.1.1"]}]}`,
	} {
		m := &memory{data: []byte(text)}
		if m.data == nil {
			m.data = []byte{}
		}
		if seeds, err := Seeds(t.Context(), m); err == nil {
			t.Errorf("%q parses to %v", text, seeds)
		}
		if err := Withdraw(t.Context(), m, "i-1"); err != nil || string(m.data) != text {
			t.Errorf("withdrawing from %q: %v, left %q", text, err, m.data)
		}
		announce(t, m, master(2))
		if got := instances(t, m); got != "i-2" {
			t.Errorf("after %q: %q", text, got)
		}
	}
}

func TestWithdraw(t *testing.T) {
	m := &memory{}
	if err := Withdraw(t.Context(), m, "i-1"); err != nil || m.writes.Load() != 0 {
		t.Errorf("from an absent record: %v, %d writes", err, m.writes.Load())
	}
	announce(t, m, master(1))
	announce(t, m, master(2))
	for _, id := range []string{"i-1", "i-1", "i-2"} {
		if err := Withdraw(t.Context(), m, id); err != nil {
			t.Fatal(err)
		}
	}
	if got := instances(t, m); got != "" || m.writes.Load() != 4 {
		t.Errorf("left %q after %d writes, want 4", got, m.writes.Load())
	}
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("503 Slow Down")
		m := &memory{fault: func(string) error { return down }}
		if _, err := Seeds(t.Context(), m); !errors.Is(err, down) {
			t.Errorf("a store that is down reads as %v", err)
		}
		began := time.Now()
		if err := Announce(t.Context(), m, master(1)); !errors.Is(err, down) || m.reads.Load() != attempts+1 {
			t.Errorf("%v after %d reads", err, m.reads.Load())
		}
		if took := time.Since(began); took > attempts*lastPause {
			t.Errorf("gave up after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := Announce(ctx, m, master(1)); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, down) {
			t.Errorf("at the deadline: %v", err)
		}
	})
}

// TestRace lets five masters announce themselves at once through a store that answers 409, 412 and 5xx, and loses
// responses: all five are in the record afterwards.
func TestRace(t *testing.T) {
	for round := range 200 {
		synctest.Test(t, func(t *testing.T) {
			m := &memory{fault: func(step string) error {
				switch n := rand.IntN(10); {
				case n == 0:
					return errors.New("500 InternalError, or a lost response")
				case n == 1 && step != "get":
					return store.ErrConflict // 409, 412; after the write: the SDK sent a lost one again
				}
				return nil
			}}
			var masters sync.WaitGroup
			for n := range 5 {
				masters.Go(func() {
					if err := Announce(t.Context(), m, master(n)); err != nil {
						t.Errorf("round %d: master %d: %v", round, n, err)
					}
				})
			}
			masters.Wait()
			m.fault = nil
			if seeds, err := Seeds(t.Context(), m); err != nil || len(seeds) != 5 {
				t.Errorf("round %d: %v, error %v", round, seeds, err)
			}
		})
	}
}

func TestJoinAddresses(t *testing.T) {
	six := netip.MustParseAddr("fd00::4")
	got := JoinAddresses([]Seed{
		{Instance: "i-1", Addresses: append(master(1).Addresses, six), JoinPort: 3988},
		{Instance: "i-2", Addresses: master(2).Addresses},
	})
	if want := []string{"10.0.0.1:3988", "[fd00::4]:3988"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzParse: whatever is read is either refused or a record that can be written and read again.
func FuzzParse(f *testing.F) {
	good, _ := encode([]Seed{master(1), master(2)})
	f.Add(good)
	f.Add([]byte(`{"seeds":[{"instance":"i-1","addresses":["::1","10.0.0.1"],"announced":"2026-01-02T03:04:05Z"}],"more":1}`))
	f.Add([]byte(`{"seeds":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		seeds, err := parse(data)
		if err != nil {
			return
		}
		if len(seeds) > maxSeeds {
			t.Fatalf("%d seeds", len(seeds))
		}
		JoinAddresses(seeds)
		written, err := encode(seeds)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(written)
		if err != nil || len(again) != len(seeds) {
			t.Fatalf("%s: %v", written, err)
		}
	})
}
