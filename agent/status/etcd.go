package status

import (
	"slices"
	"strings"
	"time"
)

// Etcd is what the node knows of one etcd cluster of which it carries a member.
type Etcd struct {
	Cluster string `json:"cluster"` // main or events
	// What was decided last about this node's member, and why: the rows of agent/etcd's decision table.
	Verdict string    `json:"verdict"`
	Row     string    `json:"row"`
	Why     string    `json:"why"`
	Hint    string    `json:"hint,omitempty"` // what the operator can do
	Decided time.Time `json:"decided"`        // when it became that row

	Lineage *EtcdLineage `json:"lineage,omitempty"`
	Member  string       `json:"member,omitempty"` // this node's
	Data    string       `json:"data"`             // empty, sound, torn or busy
	Members []EtcdMember `json:"members"`          // as the lineage lists them

	// Leads: this node's member leads, and the agent here looks after the cluster. What only it knows goes with that:
	// alarms, health, the comparison, backup and delta. Board keeps Led, and forgets them.
	Leads  bool      `json:"leads"`
	Led    time.Time `json:"led,omitzero"` // since when
	Alarms []string  `json:"alarms"`
	// Equal tells whether all members hold the same data, by the last comparison of hashes; empty: not compared yet.
	Equal    string    `json:"equal,omitempty"` // equal, differs: <who>, or why it could not be compared
	Compared time.Time `json:"compared,omitzero"`

	Backup *EtcdBackup `json:"backup,omitempty"` // kept by the node whose member leads
	Delta  *EtcdDelta  `json:"delta,omitempty"`  // likewise
	Drill  *EtcdDrill  `json:"drill,omitempty"`  // the last one that this node did, or read of while it led
	Built  *EtcdBuilt  `json:"built,omitempty"`  // what the present data was made of, if this node made it
	Aside  []EtcdAside `json:"aside"`            // data that was set aside here, oldest first
}

// EtcdLineage is the record in the store.
type EtcdLineage struct {
	UID        string `json:"uid"`
	Generation int    `json:"generation"`
	State      string `json:"state"`
	Holder     string `json:"holder"`           // the instance that wrote last
	Change     string `json:"change,omitempty"` // the change of membership under way
	Unknown    string `json:"unknown,omitempty"`
}

// EtcdMember is one member.
type EtcdMember struct {
	Name     string `json:"name"`
	Instance string `json:"instance"`
	Address  string `json:"address,omitempty"`
	Learner  bool   `json:"learner,omitempty"`
	Lost     string `json:"lost,omitempty"`
	// What follows is asked for by the node whose member leads.
	Health  string `json:"health,omitempty"` // ok, or what is wrong; empty: not asked
	Version string `json:"version,omitempty"`
	DBSize  int64  `json:"dbSize,omitempty"` // bytes
	InUse   int64  `json:"inUse,omitempty"`  // bytes of it
	Quota   int64  `json:"quota,omitempty"`  // bytes
}

// EtcdBackup is the newest full backup that counts, and what became of the last attempt. It is nil where none are taken.
type EtcdBackup struct {
	// Interval is the time between two, in seconds. It stays until an edit brings another, or Leads ends.
	Interval float64   `json:"interval,omitempty"`
	ID       string    `json:"id,omitempty"`
	Taken    time.Time `json:"taken,omitzero"`
	Revision int64     `json:"revision,omitempty"`
	Size     int64     `json:"size,omitempty"`   // bytes of the database
	Stored   int64     `json:"stored,omitempty"` // bytes in the store
	Count    int       `json:"count"`            // complete ones in the store
	Failed   string    `json:"failed,omitempty"` // why the last attempt failed
	FailedAt time.Time `json:"failedAt,omitzero"`
}

// EtcdDelta is how far what is stored reaches beyond the backup.
type EtcdDelta struct {
	// Interval is the time between two, in seconds. It stays likewise.
	Interval float64   `json:"interval,omitempty"`
	Reaches  int64     `json:"reaches"`          // revision
	Proved   time.Time `json:"proved,omitzero"`  // everything written before is stored
	Held     int       `json:"held"`             // bytes not stored yet
	Failed   string    `json:"failed,omitempty"` // why the last upload failed
}

// EtcdDrill is the last time that a restore was tried.
type EtcdDrill struct {
	At       time.Time `json:"at"`
	Backup   string    `json:"backup"`
	Revision int64     `json:"revision,omitempty"`
	Seconds  float64   `json:"seconds,omitempty"`
	Failed   string    `json:"failed,omitempty"`
}

// EtcdBuilt is data that this node made.
type EtcdBuilt struct {
	At         time.Time `json:"at"`
	Generation int       `json:"generation"`
	Backup     string    `json:"backup,omitempty"` // empty: from its own data
	Revision   int64     `json:"revision"`
	Seconds    float64   `json:"seconds"`
	Warnings   []string  `json:"warnings,omitempty"`
}

// EtcdAside is data that may not be started, and was not deleted.
type EtcdAside struct {
	Path  string    `json:"path"`
	Since time.Time `json:"since"`
	Bytes int64     `json:"bytes"`
	Why   string    `json:"why,omitempty"`
}

// What the text, the metrics and the warnings know of agent/etcd's decision table.
const (
	etcdWait = "wait" // verdicts
	etcdStop = "stop"

	etcdBusy  = "busy"  // a state of data: etcd runs on it
	etcdEqual = "equal" // an outcome of a comparison

	rowRunning = "running" // rows
	rowGone    = "run without record"
)

// Waits tells whether the member may not start now: something has to change first, by itself or by the operator's hand.
func (e *Etcd) Waits() bool { return e.Verdict == etcdWait || e.Verdict == etcdStop }

// Differs tells whether the last comparison found that members hold different data.
func (e *Etcd) Differs() bool { return strings.HasPrefix(e.Equal, "differs") }

// own is this node's member, or nil while the lineage lists none.
func (e *Etcd) own() *EtcdMember {
	if i := slices.IndexFunc(e.Members, func(m EtcdMember) bool { return m.Name == e.Member }); i >= 0 && e.Member != "" {
		return &e.Members[i]
	}
	return nil
}

// What a member is.
const (
	roleVoter   = "voter"
	roleLearner = "learner"
)

func (m *EtcdMember) role() string {
	if m.Learner {
		return roleLearner
	}
	return roleVoter
}

// ok tells whether the member said that it is well.
func (m *EtcdMember) ok() bool { return m.Health == "ok" }
