// Package datadir keeps the directory of one etcd member: what it holds, whether it is sound, and what is set aside.
//
// Nothing in it is ever deleted by a decision. Whatever may not be started is renamed beside it.
//
//	<dir>/member.json        the marker: whose data this is
//	<dir>/data/member/...    etcd's own data directory is <dir>/data
//	<dir>/data.part          a restore or rescue that is under way, or was cut
//	<dir>/aside-<time>/      data that was set aside, with its marker
//	<dir>/rescue.tmp         what Extract made; it may be removed at any time
package datadir

import (
	"path/filepath"
)

// The places in a member's directory.
const (
	markerName  = "member.json"
	dataName    = "data"
	partName    = "data.part"
	asidePrefix = "aside-"
	scratchName = "rescue.tmp"
)

// Data is etcd's data directory in a member's directory.
func Data(dir string) string { return filepath.Join(dir, dataName) }

// Part is where a restore or rescue builds a data directory before it is renamed to Data.
func Part(dir string) string { return filepath.Join(dir, partName) }

// Scratch is where Extract works. Nothing in it is the only copy of anything.
func Scratch(dir string) string { return filepath.Join(dir, scratchName) }

// MarkerPath is the marker of a member's directory. A volume that moves takes both along.
func MarkerPath(dir string) string { return filepath.Join(dir, markerName) }

// Marker says whose data lies beside it. It is written, durably, before etcd starts.
type Marker struct {
	UID        string `json:"uid"`
	Generation int    `json:"generation"`
	Member     string `json:"member"` // the member's name, given once
	Token      string `json:"token"`  // etcd's initial cluster token
	Instance   string `json:"instance,omitempty"`
	// Fresh: the first member of its generation, and it has not served yet. Only then may it be started as "new".
	Fresh bool `json:"fresh,omitempty"`
}

// State is what a data directory holds.
type State string

// The states of a data directory.
const (
	Empty State = "empty" // no member in it
	Sound State = "sound"
	Torn  State = "torn" // it must not be started
	Busy  State = "busy" // etcd runs on it; it was checked when it started
)

// Position is how far a member's log goes. Of two, the one with the higher term, then the higher index, has everything that
// the other has and that a majority ever acknowledged.
type Position struct {
	Term     uint64 `json:"term"`
	Index    uint64 `json:"index"`
	Revision int64  `json:"revision,omitempty"` // of the keys applied so far; the log may go further
}

// Less tells whether p is behind q.
func (p Position) Less(q Position) bool {
	return p.Term < q.Term || p.Term == q.Term && p.Index < q.Index
}

// Found is what Inspect saw.
type Found struct {
	State    State    `json:"state"`
	Why      string   `json:"why,omitempty"` // why it is torn
	Marker   *Marker  `json:"marker,omitempty"`
	Position Position `json:"position,omitzero"` // of sound data
}
