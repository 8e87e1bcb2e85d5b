package backup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const hour = time.Hour

// taken is a complete backup of generation 1 that was taken so long before noon.
func taken(before time.Duration, revision int64) Entry {
	at := noon.Add(-before)
	return Entry{
		Cluster: "main", ID: ID(1, at, revision), Generation: 1, Taken: at, Revision: revision, Complete: true, Modified: at.Add(time.Minute),
		Snapshot: 1, Stored: 2,
	}
}

// every has a backup each interval from age to now, oldest first.
func every(interval, age time.Duration) (all []Entry) {
	for before := age; before >= 0; before -= interval {
		all = append(all, taken(before, int64((age-before)/time.Second)+10))
	}
	return all
}

func apply(entries []Entry, plan []Removal) (left []Entry) {
	planned := map[string]Removal{}
	for _, removal := range plan {
		planned[removal.Entry.ID] = removal
	}
	for _, e := range entries {
		removal, goes := planned[e.ID]
		if goes && !removal.DeltasOnly {
			continue
		}
		if goes {
			e.Deltas = nil
		}
		left = append(left, e)
	}
	return left
}

// settle applies plans until nothing more goes.
func settle(t *testing.T, entries []Entry, now time.Time, standing Standing) []Entry {
	t.Helper()
	for range 1000 {
		plan := Plan(entries, now, Keep{AtMost: 2000}, standing)
		if len(plan) == 0 {
			return entries
		}
		entries = apply(entries, plan)
	}
	t.Fatal("it never ends")
	return nil
}

func TestPlanKeeps(t *testing.T) {
	all := every(15*time.Minute, 120*24*hour)
	left := settle(t, all, noon, Standing{Generation: 1})
	classes := map[string]int{}
	for _, e := range left {
		switch age := noon.Sub(e.Taken); {
		case age <= hour:
			classes["all"]++
		case age <= 7*24*hour:
			classes["hourly"]++
		case age <= 90*24*hour:
			classes["daily"]++
		default:
			t.Errorf("%s is older than 90 days", e.ID)
		}
	}
	// The store had each one a minute later than it was taken, which is what counts; 12:00 is the first of its hour.
	if want := "map[all:5 daily:83 hourly:167]"; fmt.Sprint(classes) != want {
		t.Errorf("kept %v, want %s", classes, want)
	}
}

// None of these go, whatever the ages.
func TestPlanProtects(t *testing.T) {
	old := func(days int, generation int, revision int64) Entry {
		e := taken(time.Duration(days)*24*hour, revision)
		e.Generation, e.ID = generation, ID(generation, e.Taken, revision)
		return e
	}
	further := old(251, 1, 20)
	further.Deltas = []DeltaEntry{{Base: 20, Last: 90}}
	ancient := []Entry{
		old(252, 1, 10), further, old(250, 1, 30), // of another generation
		old(243, 2, 5), old(242, 2, 15), old(241, 2, 25), old(240, 2, 35), old(239, 2, 45),
	}
	var later []Entry // time in which nothing is backed up hardly counts
	for day := 120; day >= 1; day-- {
		later = append(later, old(day, 3, 3000-int64(day)))
	}
	incomplete := old(3, 3, 2997)
	incomplete.Taken = incomplete.Taken.Add(time.Second)
	incomplete.Complete, incomplete.ID = false, ID(3, incomplete.Taken, incomplete.Revision)
	entries := slices.Concat(ancient, later, []Entry{incomplete})
	standing := Standing{Generation: 2, LastGood: ancient[3].ID, Taking: incomplete.ID}
	left := ids(settle(t, entries, noon, standing))
	want := slices.Delete(ids(ancient), 4, 5)[1:]
	if got := left[:len(want)]; !slices.Equal(got, want) {
		t.Errorf("kept\n%v, want\n%v", got, want)
	}
	if !slices.Contains(left, incomplete.ID) {
		t.Error("the backup that is being taken goes")
	}
	standing.Taking = ""
	if left := ids(settle(t, entries, noon, standing)); slices.Contains(left, incomplete.ID) {
		t.Error("an incomplete backup of three days ago stays")
	}
}

// One run removes no more than twenty, the oldest first.
func TestPlanBounded(t *testing.T) {
	all := every(15*time.Minute, 10*24*hour)
	plan := Plan(all, noon, Keep{}, Standing{Generation: 1})
	if len(plan) != 20 {
		t.Fatalf("%d removals", len(plan))
	}
	for i, removal := range plan[1:] {
		if !plan[i].Entry.Taken.Before(removal.Entry.Taken) || removal.Why == "" {
			t.Errorf("removal %d: %+v", i+1, removal)
		}
	}
}

// An hour after a backup that holds what they hold, and not before, deltas go.
func TestPlanDeltas(t *testing.T) {
	base := taken(3*hour, 100)
	base.Deltas = []DeltaEntry{{Base: 100, Last: 150}, {Base: 150, Last: 210}}
	for name, c := range map[string]struct {
		next     Entry
		lastGood string
		want     bool
	}{
		"held, an hour ago":      {next: taken(90*time.Minute, 210), want: true},
		"held, just now":         {next: taken(30*time.Minute, 210)},
		"not all of them":        {next: taken(90*time.Minute, 209)},
		"held, but the only one": {next: taken(90*time.Minute, 210), lastGood: base.ID},
	} {
		for _, complete := range []bool{true, false} {
			c.next.Complete = complete
			newest := taken(time.Minute, 300) // time passed
			entries := []Entry{base, c.next, newest}
			plan := Plan(entries, noon, Keep{}, Standing{Generation: 1, LastGood: c.lastGood})
			got := len(plan) == 1 && plan[0].DeltasOnly && plan[0].Entry.ID == base.ID
			if len(plan) > 1 || got != (c.want && complete) {
				t.Errorf("%s, complete %v: %+v", name, complete, plan)
			}
		}
	}
}

// Whatever the clocks do, a run removes what it would have removed when the last backup was an hour old, or less.
func TestPlanClockJumps(t *testing.T) {
	all := settle(t, every(15*time.Minute, 100*24*hour), noon, Standing{Generation: 1})
	later := settle(t, all, noon.Add(hour), Standing{Generation: 1})
	for _, jump := range []time.Duration{-200 * 365 * 24 * hour, -365 * 24 * hour, -hour, 2 * hour, 24 * hour, 365 * 24 * hour, 200 * 365 * 24 * hour} {
		left := settle(t, all, noon.Add(jump), Standing{Generation: 1})
		if jump < 0 && len(left) != len(all) || jump > 0 && !slices.Equal(ids(left), ids(later)) {
			t.Errorf("a jump by %s: %d of %d are left, want %d", jump, len(left), len(all), len(later))
		}
	}
	// A backup that was taken under the wrong clock proves two days, and not the ten years that it claims.
	wrong := taken(-10*365*24*hour, 1<<40)
	left := settle(t, append(slices.Clone(all), wrong), wrong.Taken, Standing{Generation: 1})
	if len(left) < len(all)*2/3 {
		t.Errorf("after a backup of the future %d of %d are left", len(left), len(all))
	}
	// A backup with a name of the far past or future is as young as the store says.
	for _, odd := range []time.Duration{300 * 24 * hour, -300 * 24 * hour} {
		var entries []Entry
		for i, before := range []time.Duration{odd, odd - time.Minute, -time.Minute, -time.Minute, -time.Minute} {
			e := taken(before, int64(100+i))
			e.Modified = noon.Add(time.Duration(i-30) * time.Minute)
			entries = append(entries, e)
		}
		if plan := Plan(entries, noon.Add(2*time.Minute), Keep{}, Standing{Generation: 1}); len(plan) > 0 {
			t.Errorf("clock off by %s: %+v", odd, plan)
		}
	}
}

// Random histories: outages, restores, wrong clocks, uploads that fail, retention by nodes whose clocks are wrong.
func TestPlanProperties(t *testing.T) {
	for seed := range uint64(18) {
		h := &history{rand: rand.New(rand.NewPCG(seed, 5)), generation: 1, honest: seed%3 == 0, now: noon}
		for range 200 {
			h.step()
			before := h.entries
			standing := Standing{Generation: h.generation, LastGood: h.lastGood}
			plan := Plan(before, h.clock(), Keep{}, standing)
			h.entries = apply(before, plan)
			if err := h.check(before, plan, standing); err != nil {
				t.Fatalf("seed %d, at %s: %v", seed, h.now, err)
			}
		}
	}
}
