package backup

import (
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	const interval = 20 * time.Minute
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	incomplete := taken(minutes(5), 50)
	incomplete.Complete = false
	older := taken(minutes(30), 40)
	other := taken(minutes(1), 90)
	other.Generation = 2
	future := taken(-minutes(500), 50) // its node's clock is ahead; the store's is right
	future.Modified = noon.Add(-minutes(9))
	unclocked := taken(-minutes(500), 50)
	unclocked.Modified = time.Time{}
	deltas := other
	deltas.Generation, deltas.Snapshot, deltas.Complete = 1, 0, false
	for name, c := range map[string]struct {
		entries []Entry
		after   []int // minutes past noon
		want    []bool
	}{
		"none":                      {nil, []int{0}, []bool{true}},
		"another generation's":      {[]Entry{other}, []int{0}, []bool{true}},
		"long ago":                  {[]Entry{taken(minutes(40), 50)}, []int{0}, []bool{true}},
		"just now":                  {[]Entry{taken(minutes(5), 50)}, []int{0, 10, 17, 18}, []bool{false, false, false, true}},
		"the newest by revision":    {[]Entry{taken(minutes(1), 30), older}, []int{0}, []bool{true}},
		"a clock ahead":             {[]Entry{future}, []int{0, 12, 13}, []bool{false, false, true}},
		"a clock ahead, a bad list": {[]Entry{unclocked}, []int{0, 19, 20}, []bool{false, false, true}},
		"under way":                 {[]Entry{older, incomplete}, []int{0, 4, 9}, []bool{false, false, true}},
		"only deltas":               {[]Entry{older, deltas}, []int{0}, []bool{true}},
	} {
		var sight Sight
		for i, after := range c.after {
			var due bool
			due, sight = Due(c.entries, 1, noon.Add(minutes(after)), interval, sight)
			if due != c.want[i] {
				t.Errorf("%s: at %d min due is %v", name, after, due)
			}
		}
	}
}

// However leadership moves, and whatever the leaders' clocks say by some minutes, no two backups come within an interval, and none
// comes much later. A clock that is hours off costs one backup more.
func TestDueAcrossLeaders(t *testing.T) {
	const interval = 15 * time.Minute
	for name, c := range map[string]struct {
		skew   []time.Duration
		spared int // too early
	}{
		"right clocks": {[]time.Duration{0, 0, 0}, 0},
		"a bit off":    {[]time.Duration{0, 110 * time.Second, -110 * time.Second}, 0},
		"hours off":    {[]time.Duration{0, 5 * time.Hour, -5 * time.Hour}, 1},
	} {
		sights := make([]Sight, len(c.skew))
		var entries []Entry
		var last time.Time
		early := 0
		for minute := range 24 * 60 {
			now := noon.Add(time.Duration(minute) * time.Minute)
			for leader := range c.skew {
				due, sight := Due(entries, 1, now.Add(c.skew[leader]), interval, sights[leader])
				if sights[leader] = sight; !due || leader != minute/47%len(c.skew) {
					continue
				}
				if !last.IsZero() && now.Sub(last) < interval {
					early++
				}
				if !last.IsZero() && now.Sub(last) > interval+8*time.Minute {
					t.Errorf("%s: %s after %s", name, now, last)
				}
				last = now
				e := taken(0, int64(minute+1))
				e.Taken, e.Modified = now.Add(c.skew[leader]), now
				e.ID = ID(1, e.Taken, e.Revision)
				entries = append(entries, e)
			}
		}
		if early > c.spared {
			t.Errorf("%s: %d backups came too early", name, early)
		}
	}
}
