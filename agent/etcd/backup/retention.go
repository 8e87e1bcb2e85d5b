package backup

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Keep says how many backups stay. The zero value of a field is its default.
type Keep struct {
	All    time.Duration // every backup; 1 h
	Hourly time.Duration // the last one of every hour, by UTC; 7 days
	Daily  time.Duration // the last one of every day; 90 days
	Least  int           // of the present generation, whatever their age; 3
	AtMost int           // backups that one run may remove, so that nothing is emptied before somebody sees it; 20
}

func (k Keep) complete() Keep {
	const day = 24 * time.Hour
	return Keep{
		All: cmp.Or(k.All, time.Hour), Hourly: cmp.Or(k.Hourly, 7*day), Daily: cmp.Or(k.Daily, 90*day),
		Least: cmp.Or(k.Least, 3), AtMost: cmp.Or(k.AtMost, 20),
	}
}

// Standing is what retention must know beside the listing.
type Standing struct {
	Generation int    // the present one
	LastGood   string // ID of the backup that was restored or read last without a fault; may be empty
	Taking     string // ID of the backup that this node is taking; may be empty
}

// Removal is one thing that may go.
type Removal struct {
	Entry      Entry
	DeltasOnly bool   // the snapshot stays
	Why        string // for the log
}

const (
	incompleteFor = 24 * time.Hour // how long a backup without a manifest may be one that is under way
	maxGap        = 48 * time.Hour // the most that the time between two backups counts
	maxSkew       = time.Hour      // between a node's clock and the store's, the upload included
)

// Plan says which backups may go, oldest first: all stay for an hour, then one an hour for 7 days, then one a day for 90. A
// backup's deltas go with it, or once another backup, at least an hour old, begins where they end: until then they are what
// reaches the present should that backup be bad.
//
// Always stay, of every generation, the backup with the highest revision and the one that reaches furthest; the last good
// one; the last three of the present generation.
//
// Clocks are wrong now and then, so no clock alone makes a backup old: it is as young as the node's clock, the store's
// clock and the other backups say. Time in which nothing was backed up counts for no more than two days, and after the last
// backup for no more than an hour.
func Plan(entries []Entry, now time.Time, keep Keep, standing Standing) []Removal {
	keep = keep.complete()
	entries = slices.SortedFunc(slices.Values(entries), chronological)
	ages := agesOf(entries, now, keep.All)
	r := retention{entries: entries, ages: ages, keep: keep, stays: protected(entries, keep, standing), last: lastIn(entries)}
	var removals []Removal
	for i, entry := range entries {
		if why := r.backup(i); why != "" && len(removals) < keep.AtMost {
			removals = append(removals, Removal{Entry: entry, Why: why})
		}
	}
	gone := map[string]bool{}
	for _, removal := range removals {
		gone[removal.Entry.ID] = true
	}
	for i, entry := range entries {
		if why := r.deltas(i); why != "" && !gone[entry.ID] && entry.ID != standing.LastGood {
			removals = append(removals, Removal{Entry: entry, DeltasOnly: true, Why: why})
		}
	}
	return removals
}

type retention struct {
	entries []Entry // chronological
	ages    []time.Duration
	keep    Keep
	stays   map[string]bool
	last    map[slot]string
}

// backup is why one may go, empty if it stays.
func (r *retention) backup(i int) string {
	entry, age := r.entries[i], r.ages[i]
	switch {
	case r.stays[entry.ID]:
		return ""
	case !entry.Complete && age > incompleteFor:
		return fmt.Sprintf("incomplete for more than %s", incompleteFor)
	case !entry.Complete || age <= r.keep.All:
		return ""
	case age > r.keep.Daily:
		return fmt.Sprintf("older than %s", r.keep.Daily)
	case age > r.keep.Hourly && r.followed(entry, 24*time.Hour):
		return fmt.Sprintf("older than %s, and not the last of its day", r.keep.Hourly)
	case age <= r.keep.Hourly && r.followed(entry, time.Hour):
		return fmt.Sprintf("older than %s, and not the last of its hour", r.keep.All)
	}
	return ""
}

// slot is an hour or a day of one generation.
type slot struct {
	generation int
	begin      int64
	span       time.Duration
}

func slotOf(entry Entry, span time.Duration) slot {
	return slot{entry.Generation, stamp(entry).Truncate(span).Unix(), span}
}

// lastIn has the ID of the last complete backup of each hour and day.
func lastIn(entries []Entry) map[slot]string {
	last := map[slot]string{}
	for _, entry := range entries {
		if entry.Complete {
			last[slotOf(entry, time.Hour)] = entry.ID
			last[slotOf(entry, 24*time.Hour)] = entry.ID
		}
	}
	return last
}

// followed tells whether a later backup was taken in the same hour or day.
func (r *retention) followed(entry Entry, span time.Duration) bool {
	return r.last[slotOf(entry, span)] != entry.ID
}

// deltas is why a backup's deltas may go without it.
func (r *retention) deltas(i int) string {
	entry := r.entries[i]
	if !entry.Complete || len(entry.Deltas) == 0 {
		return ""
	}
	for j, later := range r.entries[i+1:] {
		if later.Complete && later.Generation == entry.Generation && later.Revision >= entry.Reaches() && r.ages[i+1+j] > r.keep.All {
			return fmt.Sprintf("backup %s holds all that they do", later.ID)
		}
	}
	return ""
}

// protected are the backups that stay whatever their age.
func protected(entries []Entry, keep Keep, standing Standing) map[string]bool {
	stays := map[string]bool{standing.LastGood: true, standing.Taking: true}
	furthest := map[int]bool{}
	for _, entry := range Candidates(entries, math.MaxInt) {
		if !furthest[entry.Generation] {
			furthest[entry.Generation], stays[entry.ID] = true, true
		}
	}
	last := map[int]int{} // how many stay of each generation
	for _, entry := range slices.Backward(entries) {
		least := 1
		if entry.Generation == standing.Generation {
			least = keep.Least
		}
		if entry.Complete && last[entry.Generation] < least {
			last[entry.Generation]++
			stays[entry.ID] = true
		}
	}
	return stays
}

// agesOf is how old each backup is at least.
func agesOf(entries []Entry, now time.Time, most time.Duration) []time.Duration {
	ages := make([]time.Duration, len(entries))
	var since time.Duration // by the backups that followed
	next, limit := now, most
	for i, entry := range slices.Backward(entries) {
		when := stamp(entry)
		since += min(max(0, next.Sub(when)), limit)
		ages[i] = min(since, max(0, now.Sub(when)))
		if !entry.Modified.IsZero() {
			ages[i] = min(ages[i], max(0, now.Sub(entry.Modified)))
		}
		next, limit = when, maxGap
	}
	return ages
}

// stamp is when a backup was taken: by its node's clock, unless the store had it before.
func stamp(entry Entry) time.Time {
	if !entry.Modified.IsZero() && entry.Taken.After(entry.Modified.Add(maxSkew)) {
		return entry.Modified
	}
	return entry.Taken
}
