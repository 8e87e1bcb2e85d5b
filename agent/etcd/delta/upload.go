package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"rekindle/agent/store"
)

// upload stores a delta, however often that takes within Patience.
func (r *run) upload(ctx context.Context, d *Delta) error {
	var body bytes.Buffer
	if err := Write(&body, d); err != nil {
		return fmt.Errorf("%w: %w", ErrGap, err) // larger than a delta may be
	}
	key := r.base.DeltaKey(d.Base, d.Last)
	patient, cancel := context.WithTimeout(ctx, r.Options.Patience)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := r.attempt(patient, key, body.Bytes(), d)
		if err == nil || errors.Is(err, ErrFenced) || errors.Is(err, ErrGap) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.Log.Warn("deltas: upload, trying again", "key", key, "error", err)
		r.report(err)
		if pause(patient, wait) != nil && ctx.Err() == nil {
			return fmt.Errorf("%w: not stored within %s: %w", ErrBehind, r.Options.Patience, err)
		}
	}
}

func (r *run) attempt(ctx context.Context, key string, body []byte, d *Delta) error {
	ctx, cancel := context.WithTimeout(ctx, r.Options.Patience/4)
	defer cancel()
	if err := r.Fence(ctx); err != nil {
		return fmt.Errorf("before storing %s: %w", key, err)
	}
	_, err := r.Blobs.Upload(ctx, key, bytes.NewReader(body))
	if errors.Is(err, store.ErrConflict) {
		return r.compare(ctx, key, d)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// compare looks at the object that is in the way: our own, whose answer was lost, or that of another member that followed the same
// backup and saw the same writes. Then it is stored. What is known of leases may differ.
func (r *run) compare(ctx context.Context, key string, d *Delta) error {
	body, err := r.Blobs.Open(ctx, key, 0, 0)
	if err != nil {
		return fmt.Errorf("%s, which exists: %w", key, err)
	}
	defer body.Close()
	other, err := Read(body)
	if errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%s, which exists: %w: %w", key, ErrGap, err)
	}
	if err != nil {
		return fmt.Errorf("%s, which exists: %w", key, err)
	}
	if other.UID != d.UID || other.Generation != d.Generation || !equal(other.Changes, d.Changes) {
		return fmt.Errorf("%s exists and holds other changes: %w", key, ErrGap)
	}
	return nil
}

func equal(a, b []mvccpb.Event) bool {
	if len(a) != len(b) {
		return false
	}
	var left, right []byte
	for i := range a {
		var errs [2]error
		left, errs[0] = appendEvent(left[:0], &a[i])
		right, errs[1] = appendEvent(right[:0], &b[i])
		if errors.Join(errs[:]...) != nil || !bytes.Equal(left, right) {
			return false
		}
	}
	return true
}
