package backup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// history is a cluster that is backed up, more or less.
type history struct {
	rand       *rand.Rand
	honest     bool // all clocks are right
	now        time.Time
	generation int
	revision   int64
	lastGood   string
	entries    []Entry
}

func (h *history) chance(percent int) bool { return h.rand.IntN(100) < percent }

func (h *history) clock() time.Time {
	if h.honest || h.chance(80) {
		return h.now
	}
	return h.now.Add(time.Duration(h.rand.IntN(20*365*24)-10*365*24) * time.Hour)
}

func (h *history) step() {
	h.now = h.now.Add(15*time.Minute + time.Duration(h.rand.IntN(60))*time.Second)
	if h.chance(1) {
		h.now = h.now.Add(time.Duration(h.rand.IntN(30*24)) * time.Hour) // nothing was backed up
	}
	if h.chance(1) {
		h.generation++
		h.revision = h.rand.Int64N(h.revision + 1)
	}
	h.revision += h.rand.Int64N(50)
	e := Entry{
		Cluster: "main", Generation: h.generation, Taken: h.clock().Truncate(time.Second), Revision: h.revision + 1,
		Complete: h.chance(95), Snapshot: 1, Modified: h.now,
	}
	if h.chance(20) && !h.honest {
		e.Modified = time.Time{}
	}
	for last := e.Revision; h.chance(70); {
		from := last + h.rand.Int64N(2)*h.rand.Int64N(2) // a gap now and then
		last = from + h.rand.Int64N(30)
		e.Deltas = append(e.Deltas, DeltaEntry{Base: from, Last: last})
	}
	e.ID = ID(e.Generation, e.Taken, e.Revision)
	if slices.ContainsFunc(h.entries, func(o Entry) bool { return o.ID == e.ID }) {
		return
	}
	h.entries = append(h.entries, e)
	if e.Complete && h.chance(3) {
		h.lastGood = e.ID
	}
}

// check tells what a plan must never do.
func (h *history) check(before []Entry, plan []Removal, standing Standing) error {
	whole := 0
	for _, removal := range plan {
		e := removal.Entry
		switch {
		case e.ID == standing.LastGood:
			return fmt.Errorf("%s goes, the last good one", e.ID)
		case !removal.DeltasOnly:
			whole++
		}
		if age := h.now.Sub(e.Modified); !removal.DeltasOnly && !e.Modified.IsZero() && h.honest && age <= time.Hour {
			return fmt.Errorf("%s goes after %s", e.ID, age)
		}
	}
	if whole > 20 {
		return fmt.Errorf("%d go at once", whole)
	}
	for generation := 1; generation <= h.generation; generation++ {
		if err := h.checkGeneration(before, generation); err != nil {
			return err
		}
	}
	if h.honest {
		return h.checkCoverage(before)
	}
	return nil
}

// checkGeneration compares what a restore would find before and after.
func (h *history) checkGeneration(before []Entry, generation int) error {
	of := func(entries []Entry) (newest *Entry, n int) {
		var own []Entry
		for _, e := range entries {
			if e.Generation == generation {
				own = append(own, e)
			}
		}
		return Newest(own, generation), len(Candidates(own, generation))
	}
	was, had := of(before)
	is, has := of(h.entries)
	switch {
	case was == nil:
		return nil
	case is == nil || is.ID != was.ID || is.Reaches() != was.Reaches():
		return fmt.Errorf("the newest of generation %d was %+v and is %+v", generation, was, is)
	case generation == h.generation && has < min(3, had):
		return fmt.Errorf("%d of %d are left of the present generation", has, had)
	}
	return nil
}

// checkCoverage: each hour of the last week, and each day of the last 90, that had a backup of a generation still has one.
func (h *history) checkCoverage(before []Entry) error {
	for _, class := range []struct{ span, age time.Duration }{{time.Hour, 7 * 24 * time.Hour}, {24 * time.Hour, 90 * 24 * time.Hour}} {
		slots := func(entries []Entry) map[string]bool {
			found := map[string]bool{}
			for _, e := range entries {
				if e.Complete && h.now.Sub(e.Taken) < class.age {
					found[fmt.Sprint(e.Generation, e.Taken.Truncate(class.span))] = true
				}
			}
			return found
		}
		after := slots(h.entries)
		for slot := range slots(before) {
			if !after[slot] {
				return fmt.Errorf("nothing is left of %s (%s)", slot, class.span)
			}
		}
	}
	return nil
}
