package status

import (
	"slices"
	"time"

	"rekindle/agent/log"
)

// Booting says that the node is on its way (again); message is the stage it is at, and may be empty.
func (b *Board) Booting(message string) {
	b.enter(StateBooting, ReasonBooting, message, "")
}

// Ready says that the node is what the plan wants it to be.
func (b *Board) Ready() {
	b.enter(StateReady, ReasonReady, "", "")
	b.update(func(s *Status) {
		if s.Boot.Ready.IsZero() {
			s.Boot.Ready = time.Now()
			s.Boot.Seconds = seconds(s.Boot.Ready.Sub(s.Boot.Started))
		}
	})
}

// Degrade says that the node serves, but that err needs an operator. Ready ends it.
func (b *Board) Degrade(err error) {
	reason, hint := Explain(err)
	b.enter(StateDegraded, reason, Message(err), hint)
}

// Fail says that the node did not come up, and why.
func (b *Board) Fail(err error) {
	reason, hint := Explain(err)
	b.enter(StateFailed, reason, Message(err), hint)
}

func (b *Board) enter(state State, reason Reason, message, hint string) {
	message = log.Redact(message)
	b.update(func(s *Status) {
		if s.State != state || s.Reason != reason {
			s.Since = time.Now()
		}
		s.State, s.Reason, s.Message, s.Hint = state, reason, message, hint
	})
}

// Warn adds a warning. The same reason and message again keep the first time. An empty hint becomes the reason's own.
func (b *Board) Warn(reason Reason, hint, message string) {
	message = log.Redact(message)
	b.update(func(s *Status) { s.warn(reason, hint, message) })
}

func (s *Status) warn(reason Reason, hint, message string) {
	if hint == "" {
		hint = reason.Hint()
	}
	if !slices.ContainsFunc(s.Warnings, func(w Warning) bool { return w.Reason == reason && w.Message == message }) {
		s.Warnings = append(s.Warnings, Warning{Reason: reason, Message: message, Hint: hint, Since: time.Now()})
	}
}

// SetWarnings replaces the warnings that have this reason. Those that stay keep their time. An empty hint becomes the
// reason's own.
func (b *Board) SetWarnings(reason Reason, hint string, messages ...string) {
	redacted := make([]string, 0, len(messages))
	for _, message := range messages {
		redacted = append(redacted, log.Redact(message))
	}
	b.update(func(s *Status) {
		s.Warnings = slices.DeleteFunc(s.Warnings, func(w Warning) bool {
			return w.Reason == reason && !slices.Contains(redacted, w.Message)
		})
		for _, message := range redacted {
			s.warn(reason, hint, message)
		}
	})
}

// Resolve takes the warnings with this reason away.
func (b *Board) Resolve(reason Reason) {
	b.update(func(s *Status) {
		s.Warnings = slices.DeleteFunc(s.Warnings, func(w Warning) bool { return w.Reason == reason })
	})
}

// seconds is d in seconds, to the millisecond: what a reader wants, and what a diff does not drown in.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}
