package join

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"rekindle/agent/status"
)

// maxRetryAfter bounds what is believed of a Retry-After: a master can only guess how soon it is through with the others,
// and 2,000 nodes that ask twice a minute cost it next to nothing.
const maxRetryAfter = 15 * time.Second

// maxShown bounds the masters that a message names.
const maxShown = 5

var (
	errUnreached = errors.New("no master answered")
	errNoMaster  = errors.New("no master is known")
)

// ownError is a failure on this node, for which no master can do anything.
type ownError struct {
	what string
	err  error
}

func (e *ownError) Error() string { return e.what + ": " + e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// refused is a master's answer that is no grant.
type refused struct {
	Refusal
	code  int
	after time.Duration // Retry-After
}

func (r *refused) Error() string { return "refused: " + string(r.Reason) + ": " + r.Message }

// refusedBy reads an answer that is not a grant. One without a reason is not from a join server.
func refusedBy(response *http.Response, data []byte) error {
	r := &refused{code: response.StatusCode}
	if err := json.Unmarshal(data, &r.Refusal); err != nil || r.Reason == "" {
		return fmt.Errorf("it answered %d, and not in this protocol", response.StatusCode)
	}
	r.Reason, r.Message = Reason(oneLine(string(r.Reason), 40)), oneLine(r.Message, 300)
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		r.after = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	}
	return r
}

// oneLine makes a text from outside fit for a log and a console.
func oneLine(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return text
}

// What a pause depends on.
const (
	unreached  = "unreached"
	busy       = "busy"
	refusal4xx = "refused"
)

// kindOf says what a round failed by, and how long the master wants to be left alone.
func kindOf(err error) (kind string, least time.Duration) {
	r, ok := errors.AsType[*refused](err)
	switch {
	case !ok:
		return unreached, 0
	case r.Reason == Busy || r.code >= 500:
		return busy, r.after
	case r.Reason == BadNonce || r.Reason == Replayed:
		return unreached, r.after // the master was restarted in between: it says nothing about the node
	}
	return refusal4xx, r.after
}

// why says in one line why there are no certificates yet.
func (s *seeker) why() string {
	switch {
	case s.own != nil:
		return s.own.what + ": " + status.Message(s.own.err)
	case len(s.known) == 0:
		return errNoMaster.Error()
	}
	var each []string
	for _, address := range s.known {
		if err := s.last[address]; err != nil {
			each = append(each, address+": "+err.Error())
		}
	}
	if more := len(each) - maxShown; more > 0 {
		each = append(each[:maxShown], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(each, "; ")
}

// gaveUp is what Join fails with when ctx ends.
func (s *seeker) gaveUp(ctx context.Context) error {
	ended := context.Cause(ctx)
	if errors.Is(ended, context.Canceled) {
		return fmt.Errorf("join: %w", ended)
	}
	reason, hint := s.remedy()
	return status.Fail(reason, hint, fmt.Errorf("join: %w: %s", ended, cmp.Or(s.why(), errUnreached.Error())))
}
