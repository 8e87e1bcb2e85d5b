package pki

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"rekindle/agent/status"
)

// The steps of a rotation. Between them everybody trusts both generations, so no connection is refused.
const (
	Begun    = "begun"    // there is a new generation: it is trusted, and the old one signs
	Promoted = "promoted" // the new one signs, and the old one is still trusted
)

// Rotation is one that is under way.
type Rotation struct {
	Step  string    `json:"step"`
	Since time.Time `json:"since"`
	// Other is the fingerprint of the generation that does not sign: begun, the new one; promoted, the old one.
	Other string `json:"other"`
}

// Guard is how long each step must have lasted before the next.
type Guard struct {
	// Settle is how long everybody takes to trust what is new: two resyncs and more.
	Settle time.Duration
	// Life is that of the longest certificate or token that the old generation signed.
	Life time.Duration
	// Force takes the step at once.
	Force bool
}

func (o *Rotation) validate(r *Record) error {
	if o == nil {
		return nil
	}
	if o.Step != Begun && o.Step != Promoted {
		return fmt.Errorf("rotation: step %q", o.Step)
	}
	if at, err := r.find(o.Other); err != nil {
		return err
	} else if at == 0 {
		return errors.New("rotation: the other generation is the one that signs")
	}
	return nil
}

// find is the index of a generation by its fingerprint.
func (r *Record) find(fingerprint string) (int, error) {
	for i := range r.Generations {
		one, err := r.generation(i)
		if err != nil {
			return 0, err
		}
		if one.Fingerprint() == fingerprint {
			return i, nil
		}
	}
	return 0, fmt.Errorf("rotation: no generation has the fingerprint %.16s", fingerprint)
}

// begin adds a generation that is trusted and does not sign yet. The record's keys must be in clear for it and promote.
func (r *Record) begin(fresh *Authority, now time.Time) (*Record, error) {
	if r.Rotation != nil {
		return nil, r.wrongStep("begin")
	}
	if len(r.Generations) == maxGenerations {
		return nil, errors.New("begin: no further generation fits")
	}
	added, err := newRecord(r.Cluster, r.Holder.Instance, fresh, now)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	out := r.clone()
	out.Generations = append(out.Generations, added.Generations[0])
	out.Rotation = &Rotation{Step: Begun, Since: added.Created, Other: fresh.Fingerprint()}
	return out, nil
}

// promote makes the new generation sign.
func (r *Record) promote(guard Guard, now time.Time) (*Record, error) {
	if r.Rotation == nil || r.Rotation.Step != Begun {
		return nil, r.wrongStep("promote")
	}
	if left := guard.Settle - now.Sub(r.Rotation.Since); left > 0 && !guard.Force {
		return nil, refuse("promote", left, "nodes that do not trust the new generation yet would refuse what it signs",
			fmt.Sprintf("wait until every node has resynced, at %s", now.Add(left).UTC().Format(time.RFC3339)))
	}
	at, err := r.find(r.Rotation.Other)
	if err != nil {
		return nil, fmt.Errorf("promote: %w", err)
	}
	old, err := r.generation(0)
	if err != nil {
		return nil, fmt.Errorf("promote: %w", err)
	}
	out := r.clone()
	promoted := out.Generations[at]
	out.Generations = slices.Insert(slices.Delete(out.Generations, at, at+1), 0, promoted)
	out.Rotation = &Rotation{Step: Promoted, Since: now.UTC().Truncate(time.Second), Other: old.Fingerprint()}
	return out, nil
}

// finish drops the old generation.
func (r *Record) finish(guard Guard, now time.Time) (*Record, error) {
	if r.Rotation == nil || r.Rotation.Step != Promoted {
		return nil, r.wrongStep("finish")
	}
	if left := guard.Life - now.Sub(r.Rotation.Since); left > 0 && !guard.Force {
		return nil, refuse("finish", left, "certificates and tokens that the old generation signed would be refused",
			fmt.Sprintf("wait until the last of them has been renewed, at %s", now.Add(left).UTC().Format(time.RFC3339)))
	}
	out, err := r.without(r.Rotation.Other)
	if err != nil {
		return nil, err
	}
	out.Retired = append(out.Retired, r.Rotation.Other)
	out.Retired = out.Retired[max(0, len(out.Retired)-maxRetired):]
	return out, nil
}

// abort drops the new generation, before it has signed anything.
func (r *Record) abort() (*Record, error) {
	if r.Rotation == nil || r.Rotation.Step != Begun {
		return nil, r.wrongStep("abort")
	}
	return r.without(r.Rotation.Other)
}

func (r *Record) without(fingerprint string) (*Record, error) {
	at, err := r.find(fingerprint)
	if err != nil {
		return nil, err
	}
	out := r.clone()
	out.Generations = slices.Delete(out.Generations, at, at+1)
	out.Rotation = nil
	return out, nil
}

// wrongStep says why a step cannot be taken, and which can.
func (r *Record) wrongStep(step string) error {
	state, next := "no rotation is under way", "begin"
	if r.Rotation != nil {
		state = fmt.Sprintf("the rotation was %s at %s", r.Rotation.Step, r.Rotation.Since.UTC().Format(time.RFC3339))
		next = map[string]string{Begun: "promote or abort", Promoted: "finish"}[r.Rotation.Step]
	}
	return status.Fail(status.ReasonPKIBlocked, "the next step is "+next,
		fmt.Errorf("%s authority %s: %s", step, r.Name, state))
}

// ErrTooEarly says that a step of a rotation was refused, and that waiting helps.
var ErrTooEarly = errors.New("too early")

func refuse(step string, left time.Duration, breaks, remedy string) error {
	return status.Fail(status.ReasonPKIBlocked, remedy+"; or give --force, knowing this",
		fmt.Errorf("%s: %w by %s: %s", step, ErrTooEarly, left.Round(time.Second), breaks))
}
