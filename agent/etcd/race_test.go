package etcd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tally sums up what happened in many worlds, so that one can see that it did happen.
type tally struct {
	mu    sync.Mutex
	runs  int
	stats map[string]int
}

func (s *tally) add(w *world) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats == nil {
		s.stats = map[string]int{}
	}
	s.runs++
	for name, n := range w.stats {
		s.stats[name] += n
	}
	s.stats["generations"] += len(w.cells)
	s.stats["writes acknowledged"] += len(w.acked)
	s.stats["writes lost by the rules"] += len(w.forgiven)
}

// log prints the sums when all shards have ended, and insists on some.
func (s *tally) log(t *testing.T, least ...string) {
	t.Cleanup(func() {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(s.stats)) {
			all = append(all, fmt.Sprintf("%s %d", name, s.stats[name]))
		}
		t.Logf("%d runs: %s", s.runs, strings.Join(all, ", "))
		if s.runs < 30 || t.Failed() {
			return
		}
		for _, name := range least {
			if s.stats[name] == 0 {
				t.Errorf("%s: never happened", name)
			}
		}
	})
}

// Five masters boot at once into an empty store, through everything that can go wrong: one lineage, one cluster, always.
func TestRaceToCreate(t *testing.T) {
	var sum tally
	sum.log(t, "late writes", "lost answers", "row create again", "row join", "row unknown")
	eachSeed(t, 300, func(t *testing.T, seed uint64) {
		sum.add(simulate(t, seed, storm(seed), func(w *world) {
			w.locked(func() { w.launchAll(5) })
			w.pass(2 * time.Minute)
			w.locked(func() { w.want = 5 })
			w.settles(time.Hour)
		}))
	})
}

// Five masters boot at once after all that were before are gone, with their disks, and there are backups. In some worlds
// whoever restores is terminated on the way, in some the store does not answer for a while.
func TestRaceToRestore(t *testing.T) {
	var sum tally
	sum.log(t, "late writes", "lost answers", "row restore", "row take over", "row resume restore", "row join", "backups")
	eachSeed(t, 300, func(t *testing.T, seed uint64) {
		sum.add(simulate(t, seed, quiet, func(w *world) {
			w.lived(3, time.Minute)
			w.locked(func() {
				for _, n := range w.masters() {
					n.terminate(false)
				}
				w.faults = storm(seed)
				w.launchAll(5)
				if seed%3 == 0 {
					w.outage = time.Now().Add(w.between(0, time.Minute))
				}
			})
			if seed%4 == 0 && w.until(10*time.Minute, func() bool { return w.record.State == Restoring }) {
				w.pass(time.Duration(seed) * 50 * time.Millisecond)
				w.locked(func() { w.node(w.record.Holder.Instance).terminate(false) })
			}
			w.pass(2 * time.Minute)
			w.locked(func() { w.want = 5 })
			if !w.settles(time.Hour) && !w.failed && slices.ContainsFunc(w.backups, func(b *saved) bool { return !b.bad }) {
				t.Errorf("seed %d: there was a backup, and nobody restored it", seed)
			}
		}))
	})
}

// A seed is one story, to the last nanosecond: a failure that it shows can be shown again.
func TestSimulationRepeats(t *testing.T) {
	tell := func() string {
		return strings.Join(simulate(t, 7, storm(4), func(w *world) {
			w.lived(3, time.Minute)
			w.locked(func() { w.masters()[1].terminate(false); w.want = 3 })
			w.settles(time.Hour)
		}).lines, "\n")
	}
	first := tell()
	if second := tell(); withoutNonces(first) != withoutNonces(second) {
		t.Errorf("one seed, two stories:\n%s\n\n%s", first, second)
	}
}

func withoutNonces(text string) string {
	var all []string
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, "/")
		if len(after) > 4 && strings.Contains(line, "swaps: ") {
			line = before + after[4:]
		}
		all = append(all, line)
	}
	return strings.Join(all, "")
}
