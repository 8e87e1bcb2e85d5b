package pki

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rekindle/agent/status"
	"rekindle/agent/store"
)

// The steps that Rotate takes.
const (
	StepBegin   = "begin"
	StepPromote = "promote"
	StepFinish  = "finish"
	StepAbort   = "abort"
)

// Steps are those of a rotation, in order.
var Steps = []string{StepBegin, StepPromote, StepFinish, StepAbort}

// Rotate takes a step of the rotation of an authority, and returns the record as it is then.
func (v *Vault) Rotate(ctx context.Context, name, step string, guard Guard) (*Record, error) {
	fresh := (*Authority)(nil)
	return v.change(ctx, name, func(record *Record) (*Record, error) {
		now := time.Now()
		switch step {
		case StepBegin:
			if fresh == nil {
				var err error
				if fresh, err = New(name, v.Algorithm, v.AuthorityLife, now); err != nil {
					return nil, err
				}
			}
			return record.begin(fresh, now)
		case StepPromote:
			return record.promote(guard, now)
		case StepFinish:
			return record.finish(guard, now)
		case StepAbort:
			return record.abort()
		}
		return nil, fmt.Errorf("rotation: no step %q", step)
	})
}

// Reseal seals the record of an authority with the sealer's key. A record that is sealed already stays, unless again.
func (v *Vault) Reseal(ctx context.Context, name string, again bool) (changed bool, err error) {
	if !v.Seal.seals() {
		return false, status.Fail(status.ReasonPKIBlocked, "give --kms-key, or set pki.kmsKey in cluster.yaml",
			errors.New("seal: no KMS key is configured"))
	}
	now, err := v.Record(ctx, name)
	if err != nil {
		return false, err
	}
	if now.Sealed != nil && !again {
		return false, nil
	}
	_, err = v.change(ctx, name, func(record *Record) (*Record, error) { return record.clone(), nil })
	return err == nil, err
}

// change replaces a record by compare-and-swap. A record that was sealed stays sealed, under the key of before unless
// another is configured.
func (v *Vault) change(ctx context.Context, name string, to func(*Record) (*Record, error)) (*Record, error) {
	mark := nonce()
	for try := range tries {
		if err := v.pause(ctx, try, name); err != nil {
			return nil, err
		}
		record, version, err := v.get(ctx, name)
		if err != nil {
			return nil, err
		}
		if record.Holder.Nonce == mark { // the response to an earlier try was lost
			return v.published(ctx, record)
		}
		next, err := v.changed(ctx, record, mark, to)
		if err != nil {
			return nil, err
		}
		if record.Sealed != nil && !v.Seal.seals() {
			err = v.putSealed(ctx, next, version, record.Sealed.KMSKey)
		} else {
			err = v.put(ctx, next, version)
		}
		if err == nil {
			return v.published(ctx, next)
		}
		if !errors.Is(err, store.ErrConflict) {
			return nil, err
		}
	}
	return nil, v.contended(PrivateKey(name))
}

func (v *Vault) changed(ctx context.Context, record *Record, mark string, to func(*Record) (*Record, error)) (*Record, error) {
	plain, err := v.Seal.open(ctx, record)
	if err != nil {
		return nil, err
	}
	next, err := to(plain)
	if err != nil {
		return nil, err
	}
	next.Holder = Writer{Instance: v.Instance, Nonce: mark}
	return next, next.validate()
}

func (v *Vault) published(ctx context.Context, record *Record) (*Record, error) {
	a, err := record.Authority()
	if err != nil {
		return nil, err
	}
	return record, v.Publish(ctx, a)
}
