package care

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// A good backup is restored once in the interval, whoever asks; one that is damaged is told of, and the good one remembered.
func TestDrill(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	n := w.start(w.cluster.Members[0], rarely())
	last := w.put("with a delta")
	w.covered(last)
	w.until("a drill", func() bool { return n.seen().Drill != nil && w.drilled().Begun.IsZero() })
	good := w.drilled()
	if good.Failed != "" || good.Revision < w.complete()[0].Revision || good.Good != w.complete()[0].ID || !good.Begun.IsZero() {
		t.Fatalf("%+v", good)
	}
	time.Sleep(500 * time.Millisecond) // five looks
	if again := w.drilled(); !again.At.Equal(good.At) {
		t.Errorf("another drill at %s, within the interval", again.At)
	}

	snapshot := filepath.Join(w.store.root, w.complete()[0].SnapshotKey())
	raw, err := os.ReadFile(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(snapshot, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	w.aDrillIsDue(good)
	w.until("a failed drill", func() bool { return w.drilled().Failed != "" })
	bad := w.drilled()
	if bad.Good != good.Good || bad.Backup != good.Backup || !bad.At.After(good.At.Add(-time.Minute)) {
		t.Errorf("%+v", bad)
	}
	w.until("it to be shown", func() bool { return n.seen().Drill.Failed == bad.Failed })
	w.until("its directory to be gone", func() bool {
		scratch, _ := n.scratch()
		_, err := os.Stat(scratch)
		return os.IsNotExist(err)
	})
	w.end()
}

func (w *world) drilled() (d drilled) {
	w.t.Helper()
	data, _, err := w.store.Dir.Get(w.t.Context(), drillKey("main"))
	if err == nil {
		err = json.Unmarshal(data, &d)
	}
	if err != nil && !errors.Is(err, store.ErrAbsent) {
		w.t.Fatal(err)
	}
	return d
}

// aDrillIsDue makes the last drill an old one.
func (w *world) aDrillIsDue(last drilled) {
	w.t.Helper()
	last.At = last.At.Add(-2000 * time.Hour)
	data, err := json.Marshal(last)
	if err != nil {
		w.t.Fatal(err)
	}
	_, was, err := w.store.Dir.Get(w.t.Context(), drillKey("main"))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Dir.Put(w.t.Context(), drillKey("main"), data, was); err != nil {
		w.t.Fatal(err)
	}
}

// Of two nodes that find a drill due one does it; a term that ends leaves it to the next; without room nothing is said done.
func TestDrillIsClaimed(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	first := w.start(w.cluster.Members[0], rarely())
	w.until("a drill", func() bool { return first.seen().Drill != nil })
	first.stop()
	good, entry := w.drilled(), w.complete()[0]
	w.aDrillIsDue(good)
	one := &term{Carer: w.carer(w.cluster.Members[0], rarely())}
	last, was, err := one.lastDrill(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	ended, end := context.WithCancel(t.Context())
	w.store.mu.Lock()
	w.store.put = func(string) { end() } // the claim is written, and the term is over
	w.store.mu.Unlock()
	if err := one.drillNow(ended, entry, last, was); err != nil {
		t.Error(err)
	}
	w.store.mu.Lock()
	w.store.put = nil
	w.store.mu.Unlock()
	if d := w.drilled(); !d.Begun.IsZero() || !d.At.Equal(last.At) || d.Failed != "" {
		t.Errorf("after a term that ended: %+v", d)
	}

	before, writes := w.drilled(), w.store.writes.Load()
	if err := one.drillNow(t.Context(), entry, last, was); err != nil || w.store.writes.Load() != writes+1 {
		t.Errorf("who was slower: %v, %d writes", err, w.store.writes.Load()-writes)
	}
	if d := w.drilled(); !bytes.Equal(encoded(t, d), encoded(t, before)) {
		t.Errorf("who was slower wrote %+v over %+v", d, before)
	}

	last, was, _ = one.lastDrill(t.Context())
	one.Path = func(string) (string, error) { return "/proc/self/nowhere", nil }
	if err := one.drillNow(t.Context(), entry, last, was); err == nil {
		t.Error("no directory, no error")
	}
	if d := w.drilled(); !d.At.Equal(last.At) || !d.Begun.IsZero() {
		t.Errorf("a drill that could not be begun: %+v", d)
	}
	w.end()
}

func encoded(t *testing.T, d drilled) []byte {
	t.Helper()
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDrillDue(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	at := func(ago time.Duration) drilled { return drilled{EtcdDrill: status.EtcdDrill{At: now.Add(-ago)}} }
	begun := func(ago time.Duration) drilled { return drilled{Begun: now.Add(-ago), By: "i-2"} }
	for name, c := range map[string]struct {
		last drilled
		want bool
	}{
		"never":                                {drilled{}, true},
		"a while ago":                          {at(23 * time.Hour), false},
		"a day ago":                            {at(24 * time.Hour), true},
		"by a clock that is an hour ahead":     {at(-time.Hour), false},
		"by a clock that is a year ahead":      {at(-365 * 24 * time.Hour), true},
		"under way":                            {begun(time.Minute), false},
		"under way, by a clock an hour ahead":  {begun(-59 * time.Minute), false},
		"under way, by a clock an hour behind": {begun(119 * time.Minute), false},
		"begun by a node that died":            {begun(4 * time.Hour), true},
		"begun by a clock a year ahead":        {begun(-365 * 24 * time.Hour), true},
	} {
		if got := c.last.due(now, 24*time.Hour); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// The room for a drill is that of the database twice: the next snapshot comes to the same disk.
func TestDrillRoom(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	n := w.start(w.cluster.Members[0], rarely())
	w.until("a backup", func() bool { return len(w.complete()) == 1 })
	n.stop()
	entry := w.complete()[0]
	if err := n.drillRoom(t.Context(), entry); err != nil {
		t.Error(err)
	}
	n.free = func(string) (int64, error) { return drillReserve, nil }
	if err := n.drillRoom(t.Context(), entry); err == nil || !strings.Contains(err.Error(), "spoolDir") {
		t.Errorf("no room: %v", err)
	}
	w.end()
}
