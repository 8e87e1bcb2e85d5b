package gossip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rekindle/agent/store"
)

// KeyringKey is where a cluster's keyring lies in its store, unless the configuration names another place. Every node of the
// cluster may read it, and masters may write it.
const KeyringKey = "discovery/keyring.json"

// ReadKeyring is the ring in the store; store.ErrAbsent when there is none.
func ReadKeyring(ctx context.Context, records store.Records) (Keyring, store.Version, error) {
	data, version, err := records.Get(ctx, KeyringKey)
	if err != nil {
		return Keyring{}, "", err
	}
	ring, err := ParseKeyring(data)
	if err != nil {
		return Keyring{}, "", fmt.Errorf("%s: %w", KeyringKey, err)
	}
	return ring, version, nil
}

// EnsureKeyring is the ring in the store, which is made if there is none: of several masters one makes it, and all have that one.
func EnsureKeyring(ctx context.Context, records store.Records) (Keyring, store.Version, error) {
	ring, version, err := ReadKeyring(ctx, records)
	if !errors.Is(err, store.ErrAbsent) {
		return ring, version, err
	}
	if err := WriteKeyring(ctx, records, NewKeyring(time.Now()), ""); err != nil && !errors.Is(err, store.ErrConflict) {
		return Keyring{}, "", err
	}
	return ReadKeyring(ctx, records)
}

// WriteKeyring replaces the ring, if it is still that of the version: store.ErrConflict.
func WriteKeyring(ctx context.Context, records store.Records, ring Keyring, was store.Version) error {
	data, err := ring.Encode()
	if err != nil {
		return err
	}
	_, err = records.Put(ctx, KeyringKey, data, was)
	return err
}

// ErrRotating says that a rotation is under way.
var ErrRotating = errors.New("a rotation is under way")

// Rotate is the ring with one new key, with which a rotation begins; ErrRotating while there are two. The key is younger than
// the primary one, whatever the clock of whoever makes it says: Next goes by that.
func (r Keyring) Rotate(now time.Time) (Keyring, error) {
	if len(r.Others) > 0 {
		return r, ErrRotating
	}
	if after := r.Primary.Made.Add(time.Second); now.Before(after) {
		now = after
	}
	return r.WithNew(now)
}

// Next is the ring one step further in its rotation, and what the step is; false when there is nothing to do. Between two
// steps every node must have reloaded the ring.
func (r Keyring) Next() (next Keyring, step string, ok bool) {
	if len(r.Others) == 0 {
		return r, "", false
	}
	byAge := slices.SortedFunc(slices.Values(r.Others), func(a, b Key) int { return a.Made.Compare(b.Made) })
	newest, oldest := byAge[len(byAge)-1], byAge[0]
	var err error
	if newest.Made.After(r.Primary.Made) {
		next, err = r.WithPrimary(newest.ID)
		step = "encrypting with key " + newest.ID
	} else {
		next, err = r.Without(oldest.ID)
		step = "key " + oldest.ID + " is understood no longer"
	}
	return next, step, err == nil
}
