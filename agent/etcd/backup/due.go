package backup

import "time"

// Sight is what a node remembers of the newest backup between two looks at the listing. The zero value remembers nothing.
type Sight struct {
	ID    string
	Since time.Time // when it was taken, as far as this node's clock can tell

	looked bool
}

// Due tells whether a backup is to be taken now, and what to remember for the next look. Whoever leads asks it, so that a
// change of leaders makes no backup more and none less.
//
// The newest backup is the one with the highest revision. How long ago it was taken is the asking node's own measure when it
// appeared between two looks; at the first look two clocks must be compared, and the interval is a little longer: two
// minutes, or a quarter of it. An upload without a manifest is a backup under way for ten minutes, or half an interval.
func Due(entries []Entry, generation int, now time.Time, interval time.Duration, was Sight) (bool, Sight) {
	var newest *Entry
	for i, entry := range entries {
		if entry.Generation != generation || entry.Snapshot == 0 {
			continue
		}
		if newest == nil || chronological(*newest, entry) < 0 {
			newest = &entries[i]
		}
	}
	if newest == nil {
		return true, Sight{looked: true}
	}
	sight := was
	if sight.ID != newest.ID {
		sight = Sight{ID: newest.ID, Since: now, looked: true}
		if !was.looked {
			sight.Since = firstSight(*newest, now, interval)
		}
	}
	wait := interval
	if !newest.Complete {
		wait = min(10*time.Minute, interval/2)
	}
	return now.Sub(sight.Since) >= wait, sight
}

// firstSight compares clocks: the store's, or else that of the node that took it, with ours.
func firstSight(entry Entry, now time.Time, interval time.Duration) time.Time {
	when := stamp(entry)
	if entry.Modified.After(when) {
		when = entry.Modified
	}
	when = when.Add(min(2*time.Minute, interval/4))
	if when.After(now) {
		return now
	}
	return now.Add(when.Sub(now)) // so that a clock that is set later changes nothing
}
