package etcd

import (
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
)

// Facts are what was observed of one etcd cluster at one moment. What is not always needed is asked for by Decide: its
// field is nil until somebody looked.
type Facts struct {
	Self  string        // this instance's id
	Found datadir.Found // what lies on this node
	// Reported: this node said in the record that its data is gone, and has not taken it back.
	Reported bool
	// Leaderless: etcd runs here, and has known no leader for a while.
	Leaderless bool

	// Record is the lineage; with RecordUnknown nobody could say whether there is one.
	Record        *Lineage
	RecordUnknown error
	// Stuck: the record's change has not moved for ten minutes of this node's clock.
	Stuck bool

	Trace     *Trace
	Quorum    *Quorum
	Instances *Instances
	Backups   *Backups
}

// Trace tells whether a record or a backup exists or ever did.
type Trace struct {
	Found   bool
	Unknown error
}

// Quorum tells whether a quorum answered. No answer proves nothing.
type Quorum struct {
	Reachable bool
	Why       string // what was heard instead
}

// Instances is EC2's word on the instances of the members.
type Instances struct {
	Gone    map[string]bool // terminated, or not found for long enough
	Stopped map[string]bool
	Unknown error
}

// Backups are those that a restore could start from, the best one first.
type Backups struct {
	Entries []backup.Entry
	Unknown error
}

// Need is a fact that is missing.
type Need string

// What can be asked for.
const (
	NeedTrace     Need = "trace"
	NeedQuorum    Need = "quorum"
	NeedInstances Need = "instances"
	NeedBackups   Need = "backups"
)
