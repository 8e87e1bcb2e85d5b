// Package delta keeps what was written between two snapshots: the events of a watch, contiguous by revision, with the leases
// that were alive. A delta is replayed offline, into the database file that a snapshot was restored to, at the very
// revisions that it had: no server runs meanwhile, so no lease expires.
//
// What makes a gap visible: each write of etcd raises the revision by exactly one and leaves at least one event at it; a
// transaction that changes nothing, a compaction, an alarm, a change of users and the revocation of a lease without keys
// raise nothing (server/v3/storage/mvcc, storeTxnWrite.End). So every revision after Base up to Last has an event, or
// something is missing.
//
// Not in a delta: users and roles of etcd, alarms, members. They are as the snapshot has them.
package delta

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// FormatVersion is what this agent writes; newer ones it refuses.
const FormatVersion = 1

// What a caller branches on.
var (
	// ErrGap says that revisions are missing, or that others are there than belong there: take a full backup, or restore
	// only what comes before.
	ErrGap = errors.New("the deltas are not contiguous")
	// ErrBehind says that deltas cannot be stored as fast as etcd is written to: take a full backup.
	ErrBehind = errors.New("the deltas fell behind")
	// ErrFenced is for Stream.Fence to return: the lineage went on without this member, nothing may be stored any more.
	ErrFenced = errors.New("the lineage went on without this member")
	// ErrDamaged says that an object is no delta, or not as it was written: restore only what comes before.
	ErrDamaged = errors.New("the delta is damaged")
)

// Delta is everything that was written after revision Base, up to and including Last.
type Delta struct {
	Header
	Changes []mvccpb.Event // in the order of their revisions, and within one in that of the transaction; without PrevKv
	Leases  []Lease        // all that were alive at the end, by ID; see Settled
}

// Header says where a delta belongs.
type Header struct {
	Version    int       `json:"version"` // of the format; Write sets it
	Cluster    string    `json:"cluster"`
	UID        string    `json:"uid"`
	Generation int       `json:"generation"`
	Base       int64     `json:"base"` // the revision that it follows
	Last       int64     `json:"last"` // equal to Base: nothing was written
	Events     int       `json:"events"`
	Taken      time.Time `json:"taken"` // UTC
	// Settled: Leases has every lease that was alive at Last. Otherwise the watch was still catching up, others may have
	// been alive, and Replay removes none. Even a settled delta may list a lease that has just ended: it has no keys any more,
	// or they are still there and go with it.
	Settled bool `json:"settled"`
}

// Lease is one lease, with what it was granted and what was left of it, in seconds.
type Lease struct {
	ID        int64 `json:"id"`
	TTL       int64 `json:"ttl"`
	Remaining int64 `json:"remaining"`
}

// What one delta may hold. Read allocates no more than that, whatever the bytes say.
const (
	// MaxSize bounds the changes of one delta in memory, in bytes as size counts them.
	MaxSize = 256 << 20
	// MaxLeases bounds the leases of one delta.
	MaxLeases = 1 << 20
)

// overhead is what an event takes in memory beside its key and value, in bytes.
const overhead = 200

// size is what an event takes in memory, in bytes.
func size(e *mvccpb.Event) int {
	return overhead + len(e.Kv.Key) + len(e.Kv.Value) + len(e.Kv.XXX_unrecognized)
}

// Check says whether a delta is whole: every revision after Base up to Last has its events, in order, and each event is one
// that etcd would have made.
func (d *Delta) Check() error {
	if d.Base < 1 || d.Last < d.Base {
		return fmt.Errorf("revisions %d to %d: %w", d.Base, d.Last, ErrDamaged)
	}
	if d.Events != len(d.Changes) {
		return fmt.Errorf("%d events where the header says %d: %w", len(d.Changes), d.Events, ErrDamaged)
	}
	at, bytes := d.Base, 0
	for i := range d.Changes {
		e := &d.Changes[i]
		if err := checkEvent(e); err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		if rev := e.Kv.ModRevision; rev != at && rev != at+1 || rev == d.Base {
			return fmt.Errorf("event %d is of revision %d after revision %d: %w", i, rev, at, ErrDamaged)
		}
		at = e.Kv.ModRevision
		bytes += size(e)
	}
	if at != d.Last {
		return fmt.Errorf("the events end at revision %d, not at %d: %w", at, d.Last, ErrDamaged)
	}
	if bytes > MaxSize {
		return fmt.Errorf("the events take %d bytes, more than %d: %w", bytes, MaxSize, ErrDamaged)
	}
	return checkLeases(d.Leases)
}

func checkEvent(e *mvccpb.Event) error {
	kv := e.Kv
	if kv == nil || len(kv.Key) == 0 || e.PrevKv != nil {
		return fmt.Errorf("it has no key, or a previous value: %w", ErrDamaged)
	}
	switch e.Type {
	case mvccpb.PUT:
		if kv.CreateRevision < 1 || kv.CreateRevision > kv.ModRevision || kv.Version < 1 {
			return fmt.Errorf("key %q: version %d, created at %d, changed at %d: %w",
				kv.Key, kv.Version, kv.CreateRevision, kv.ModRevision, ErrDamaged)
		}
	case mvccpb.DELETE:
		if kv.CreateRevision != 0 || kv.Version != 0 || kv.Lease != 0 || len(kv.Value) != 0 {
			return fmt.Errorf("key %q: a deletion has nothing but its key: %w", kv.Key, ErrDamaged)
		}
	default:
		return fmt.Errorf("key %q: kind %d: %w", kv.Key, e.Type, ErrDamaged)
	}
	return nil
}

func checkLeases(all []Lease) error {
	if len(all) > MaxLeases {
		return fmt.Errorf("%d leases, more than %d: %w", len(all), MaxLeases, ErrDamaged)
	}
	for i, l := range all {
		if l.ID == 0 || l.TTL < 1 || l.Remaining < 0 || l.Remaining > l.TTL {
			return fmt.Errorf("lease %x: %d of %d seconds: %w", l.ID, l.Remaining, l.TTL, ErrDamaged)
		}
		if i > 0 && all[i-1].ID >= l.ID {
			return fmt.Errorf("lease %x is out of order: %w", l.ID, ErrDamaged)
		}
	}
	return nil
}
