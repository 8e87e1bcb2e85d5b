// Package delta keeps what was written between two snapshots: the events of a watch, contiguous by revision, with the leases
// that were alive. A delta is replayed offline, into the database file that a snapshot was restored to, at the very
// revisions that it had: no server runs meanwhile, so no lease expires.
package delta

import (
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// FormatVersion is what this agent writes; newer ones it refuses.
const FormatVersion = 1

// Delta is everything that was written after revision Base, up to and including Last.
type Delta struct {
	Header
	Changes []mvccpb.Event // in the order of their revisions, and within one in that of the transaction
	Leases  []Lease        // all that were alive at the end
}

// Header says where a delta belongs.
type Header struct {
	Cluster    string    `json:"cluster"`
	UID        string    `json:"uid"`
	Generation int       `json:"generation"`
	Base       int64     `json:"base"` // the revision that it follows
	Last       int64     `json:"last"` // equal to Base: nothing was written, which the watch's progress proves
	Events     int       `json:"events"`
	Taken      time.Time `json:"taken"`
}

// Lease is one lease, with what it was granted and what was left of it, in seconds.
type Lease struct {
	ID        int64 `json:"id"`
	TTL       int64 `json:"ttl"`
	Remaining int64 `json:"remaining"`
}
