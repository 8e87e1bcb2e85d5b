package route53

import (
	"context"
	"net/netip"
	"time"

	"rekindle/agent/status"
)

// Availability is whether Route 53 can be used, and when it is asked again.
type Availability struct {
	State State `json:"state"`
	// Error is the last failure, and Hint what to do about it; empty while State is ready.
	Error   string    `json:"error,omitempty"`
	Hint    string    `json:"hint,omitempty"`
	NextTry time.Time `json:"nextTry,omitzero"`
}

// Status is what a keeper tells an operator.
type Status struct {
	Availability
	Zone      string       `json:"zone,omitempty"` // id
	ZoneName  string       `json:"zoneName,omitempty"`
	LastRead  time.Time    `json:"lastRead,omitzero"`
	LastWrite time.Time    `json:"lastWrite,omitzero"`
	Foreign   []string     `json:"foreign,omitempty"` // wanted names that are somebody else's, and why
	Held      []netip.Addr `json:"held,omitempty"`    // would be taken out if a majority were seen
}

// Status is the state of this moment.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// succeeded notes that Route 53 answers.
func (k *Keeper) succeeded() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.status.State != Ready {
		k.o.Logger.Info("route53: answers", "zone", k.status.Zone)
	}
	k.failures, k.refusal = 0, false
	k.status.State, k.status.Error, k.status.Hint = Ready, "", ""
}

// answered is succeeded for a read alone.
func (k *Keeper) answered() {
	k.mu.Lock()
	refusal := k.refusal
	k.mu.Unlock()
	if !refusal {
		k.succeeded()
	}
}

// failed notes an error and when to try again. An end of ctx is none of Route 53's.
func (k *Keeper) failed(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failures++
	pause := backoff(firstBackoff, k.failures)
	if conflicting(err) {
		k.metrics.conflicted()
		pause = backoff(afterConflict, k.failures)
	}
	k.due = time.Now().Add(pause)
	k.status.State, k.status.Error, k.status.NextTry = stateOf(err), status.Message(err), k.due
	_, k.status.Hint = status.Explain(err)
	return err
}
