package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// timelineVersion is the version of boot.json.
const timelineVersion = 1

// timelineJSON is boot.json.
type timelineJSON struct {
	Version  int       `json:"version"`
	Identity Identity  `json:"identity"`
	Taken    time.Time `json:"taken"` // steps without an end were running then
	Boot     *Span     `json:"boot"`
}

// Snapshot is a copy that nothing changes any more. It may be taken while steps run.
//
// Its times are those of the root's clock: chrony steps the wall clock in the middle of many boots, so every time is
// the root's start plus what the monotonic clock measured since.
func (tl *Timeline) Snapshot() *Timeline {
	tl.Root.lock()
	defer tl.Root.unlock()
	taken := tl.Taken
	if taken.IsZero() {
		taken = time.Now()
	}
	start := tl.Root.Start
	return &Timeline{
		Root:     copySpan(tl.Root, start),
		Identity: tl.Identity,
		Taken:    onClock(start, taken),
	}
}

func copySpan(s *Span, start time.Time) *Span {
	c := &Span{
		Name:     s.Name,
		Start:    onClock(start, s.Start),
		End:      onClock(start, s.End),
		Bytes:    s.Bytes,
		Attempts: s.Attempts,
		Error:    s.Error,
	}
	for _, step := range s.Steps {
		if step != nil { // a "null" in a file that somebody edited
			c.Steps = append(c.Steps, copySpan(step, start))
		}
	}
	slices.SortStableFunc(c.Steps, func(a, b *Span) int { return a.Start.Compare(b.Start) })
	return c
}

func onClock(start, t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return start.Round(0).UTC().Add(t.Sub(start)) // Round(0) drops the monotonic reading
}

// MarshalJSON encodes a snapshot.
func (tl *Timeline) MarshalJSON() ([]byte, error) {
	s := tl.Snapshot()
	return json.Marshal(timelineJSON{Version: timelineVersion, Identity: s.Identity, Taken: s.Taken, Boot: s.Root})
}

// UnmarshalJSON decodes what MarshalJSON wrote. Unknown keys are ignored.
func (tl *Timeline) UnmarshalJSON(data []byte) error {
	var j timelineJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	if j.Version < 1 || j.Version > timelineVersion {
		return fmt.Errorf("timeline: version %d, this binary reads 1 to %d (use a newer rekindle)", j.Version, timelineVersion)
	}
	if j.Boot == nil {
		return errors.New("timeline: no boot in it")
	}
	read := &Timeline{Root: j.Boot, Identity: j.Identity, Taken: j.Taken}
	if read.Taken.IsZero() {
		read.Taken = j.Boot.Start
	}
	*tl = *read.Snapshot()
	return nil
}

// Save writes the timeline as boot.json at path, at once.
func (tl *Timeline) Save(path string) error {
	data, err := json.MarshalIndent(tl, "", "  ")
	if err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	return replace(path, append(data, '\n'))
}

// ReadTimeline reads what Save wrote.
func ReadTimeline(path string) (*Timeline, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	tl := new(Timeline)
	if err := json.Unmarshal(data, tl); err != nil {
		return nil, fmt.Errorf("timeline: %s: %w", path, err)
	}
	return tl, nil
}
