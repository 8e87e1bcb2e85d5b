package status

import (
	"context"
	"sync"
	"time"

	"rekindle/agent/log"
)

// Span is one timed step of a boot. Its JSON form is part of nodes/<instance-id>/boot.json.
//
// The methods are safe for concurrent use and for a nil Span, so that a package may be called without a timeline.
type Span struct {
	Name     string    `json:"name"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end,omitzero"` // zero while the step runs
	Bytes    int64     `json:"bytes,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
	Error    string    `json:"error,omitempty"`
	Steps    []*Span   `json:"steps,omitempty"`

	tree *sync.Mutex // one lock for the whole tree: spans are few and their updates are short
}

// Timeline is the root span of one boot.
type Timeline struct {
	Root *Span

	Identity Identity  // whose boot; while steps run it is set through Identify
	Taken    time.Time // the moment a snapshot shows; zero in a living timeline
}

// NewTimeline starts the clock of a boot.
func NewTimeline(name string, start time.Time) *Timeline {
	return &Timeline{Root: &Span{Name: name, Start: start, tree: new(sync.Mutex)}}
}

// Identify says whose boot this is, once that is known.
func (tl *Timeline) Identify(id Identity) {
	tl.Root.lock()
	defer tl.Root.unlock()
	tl.Identity = id
}

type spanKey struct{}

// WithTimeline makes tl the parent of the steps that are begun under the returned context.
func WithTimeline(ctx context.Context, tl *Timeline) context.Context {
	return context.WithValue(ctx, spanKey{}, tl.Root)
}

// Step begins a step below the one that ctx carries. The caller ends it: defer func() { span.Done(err) }().
// Without a timeline in ctx the span is nil, and all its methods do nothing.
func Step(ctx context.Context, name string) (context.Context, *Span) {
	parent, _ := ctx.Value(spanKey{}).(*Span)
	if parent == nil {
		return ctx, nil
	}
	span := &Span{Name: name, Start: time.Now(), tree: parent.tree}
	parent.lock()
	parent.Steps = append(parent.Steps, span)
	parent.unlock()
	return context.WithValue(ctx, spanKey{}, span), span
}

// Current is the innermost step of ctx, or nil.
func Current(ctx context.Context) *Span {
	span, _ := ctx.Value(spanKey{}).(*Span)
	return span
}

// Done ends the step; err is what it failed with, if it did. Only the first call counts.
func (s *Span) Done(err error) {
	if s == nil {
		return
	}
	s.lock()
	defer s.unlock()
	if !s.End.IsZero() {
		return
	}
	s.End = time.Now()
	if err != nil {
		s.Error = log.Redact(err.Error())
	}
}

// AddBytes counts bytes that the step moved over the network.
func (s *Span) AddBytes(n int64) {
	if s == nil {
		return
	}
	s.lock()
	s.Bytes += n
	s.unlock()
}

// Attempt counts one try of the step's work.
func (s *Span) Attempt() {
	if s == nil {
		return
	}
	s.lock()
	s.Attempts++
	s.unlock()
}

// A span that was decoded or written as a literal has no lock: nothing runs below it any more.
func (s *Span) lock() {
	if s.tree != nil {
		s.tree.Lock()
	}
}

func (s *Span) unlock() {
	if s.tree != nil {
		s.tree.Unlock()
	}
}
