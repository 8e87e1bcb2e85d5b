package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What is read of a name and an error, in characters: enough to tell what it was, and no more than a page.
const (
	nameLimit  = 200
	errorLimit = 1500
)

// row is one line of a drawn timeline.
type row struct {
	name     string
	kind     string
	depth    int
	from, to time.Duration // since the start of the boot
	parent   bool
	running  bool
	bytes    int64
	attempts int
	err      string
	tree     []bool // for each level above: are there more siblings below? The last is the row's own.
}

func (r row) took() time.Duration { return r.to - r.from }

// size is what the step moved, or empty.
func (r row) size() string {
	if r.bytes == 0 {
		return ""
	}
	return Bytes(r.bytes)
}

// notes are what is out of the ordinary about the step.
func (r row) notes() (notes []string) {
	if r.attempts > 1 {
		notes = append(notes, fmt.Sprintf("%d tries", r.attempts))
	}
	if r.running {
		notes = append(notes, "running")
	}
	if r.err != "" {
		notes = append(notes, "failed")
	}
	return notes
}

// label is what stands beside a drawn bar.
func (r row) label() string {
	parts := append([]string{Duration(r.took()), r.size(), rate(r.bytes, r.took())}, r.notes()...)
	return strings.Join(slices.DeleteFunc(parts, empty), " · ")
}

// causes tells for each row whether it failed by itself. A step whose own steps failed only repeats them.
func causes(rows []row) []bool {
	own := make([]bool, len(rows))
	for i, r := range rows {
		own[i] = r.err != ""
		for j := i + 1; j < len(rows) && rows[j].depth > r.depth; j++ {
			own[i] = own[i] && rows[j].err == ""
		}
	}
	return own
}

// rows flattens a snapshot. Of more than limit siblings only the longest, and all that failed, get a row of their own;
// the others share one.
func (tl *Timeline) rows(limit int) (rows []row, total time.Duration) {
	start, end := tl.Root.Start, tl.Root.End
	if end.IsZero() {
		end = tl.Taken
	}
	total = max(end.Sub(start), time.Microsecond)
	var walk func(parent *Span, kind string, tree []bool)
	walk = func(parent *Span, kind string, tree []bool) {
		steps, folded := fold(parent.Steps, limit)
		for i, s := range steps {
			last := i == len(steps)-1 && folded.count == 0
			r := newRow(s, start, total, kind)
			r.tree = append(slices.Clone(tree), !last)
			r.depth = len(tree)
			rows = append(rows, r)
			walk(s, r.kind, r.tree)
		}
		if folded.count > 0 {
			r := newRow(&folded.span, start, total, kind)
			r.name = fmt.Sprintf("%d more, none longer than %s", folded.count, Duration(folded.longest))
			r.kind = kindOf(kind, folded.sample)
			r.tree = append(slices.Clone(tree), false)
			r.depth = len(tree)
			r.parent = true
			rows = append(rows, r)
		}
	}
	walk(tl.Root, "", nil)
	return rows, total
}

func newRow(s *Span, start time.Time, total time.Duration, parentKind string) row {
	r := row{
		name:     shorten(cmp.Or(oneLine(s.Name), "unnamed"), nameLimit, "…"),
		kind:     kindOf(parentKind, s.Name),
		from:     min(max(s.Start.Sub(start), 0), total),
		to:       total,
		parent:   len(s.Steps) > 0,
		running:  s.End.IsZero(),
		bytes:    s.Total(),
		attempts: s.Attempts,
		err:      shorten(oneLine(s.Error), errorLimit, "…"),
	}
	if !r.running {
		r.to = min(max(s.End.Sub(start), r.from), total)
	}
	return r
}

// Total is the bytes of a step and all below it, whether it counted those of its steps itself or left that to them. The
// step must be done, or from a Snapshot.
func (s *Span) Total() int64 {
	var below int64
	for _, step := range s.Steps {
		below += step.Total()
	}
	return max(s.Bytes, below)
}

// folding is the siblings that share a row.
type folding struct {
	count   int
	longest time.Duration
	sample  string
	span    Span
}

func fold(steps []*Span, limit int) (shown []*Span, rest folding) {
	if len(steps) <= limit {
		return steps, rest
	}
	foldable := func(s *Span) bool { return s.Error == "" && len(s.Steps) == 0 && !s.End.IsZero() }
	var candidates []*Span
	for _, s := range steps {
		if foldable(s) {
			candidates = append(candidates, s)
		}
	}
	took := func(s *Span) time.Duration { return s.End.Sub(s.Start) }
	slices.SortStableFunc(candidates, func(a, b *Span) int { return cmp.Compare(took(b), took(a)) })
	fixed := len(steps) - len(candidates)
	candidates = candidates[min(max(limit-1-fixed, 0), len(candidates)):]
	if len(candidates) < 2 { // a row that stands for one step would save nothing
		return steps, rest
	}
	hidden := make(map[*Span]bool, len(candidates))
	for i, s := range candidates {
		hidden[s] = true
		if i == 0 {
			rest.longest, rest.sample = took(s), s.Name
			rest.span.Start, rest.span.End = s.Start, s.End
		}
		if s.Start.Before(rest.span.Start) {
			rest.span.Start = s.Start
		}
		if s.End.After(rest.span.End) {
			rest.span.End = s.End
		}
		rest.span.Bytes += s.Bytes
		rest.count++
	}
	shown = slices.DeleteFunc(slices.Clone(steps), func(s *Span) bool { return hidden[s] })
	return shown, rest
}

// title is who booted, and in what time.
func (tl *Timeline) title(total time.Duration) string {
	title := "boot"
	if tl.Identity != (Identity{}) {
		title = who(tl.Identity)
	}
	how := "in"
	switch {
	case tl.Root.Error != "":
		how = "failed after"
	case tl.Root.End.IsZero():
		how = "running for"
	}
	return title + " " + how + " " + Duration(total)
}

func empty(s string) bool { return s == "" }
