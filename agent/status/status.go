// Package status is what an operator sees of the agent: status.json with its stable reason codes and hints, the named
// waits of the moment, the timeline of the boot, and the console line at its end.
//
// To add a reason, add a constant to reason.go and its meaning to reasons.go. To add a field, add it to Status below.
// Tests fail until docs/status.md explains either.
package status

import "time"

// Version is the version of status.json. It is raised when a key changes its meaning or goes; new keys do not raise it.
const Version = 1

// State is what the node as a whole is at.
type State string

// The states. A node is degraded when it serves but something on it needs an operator.
const (
	StateBooting  State = "booting"
	StateReady    State = "ready"
	StateDegraded State = "degraded"
	StateFailed   State = "failed"
)

// Status is the content of status.json. Lists are always present, if empty, so that scripts need not test for them;
// an object that is not known yet is left out.
type Status struct {
	Version  int       `json:"version"`
	State    State     `json:"state"`
	Reason   Reason    `json:"reason"`
	Message  string    `json:"message,omitempty"`
	Hint     string    `json:"hint,omitempty"` // what to do, one sentence
	Since    time.Time `json:"since"`          // when state and reason became what they are
	Stale    *Stale    `json:"stale,omitempty"`
	Identity Identity  `json:"identity"`
	Agent    Agent     `json:"agent"`
	Boot     Boot      `json:"boot"`
	Waits    []Pending `json:"waits"` // oldest first
	Assets   Assets    `json:"assets,omitzero"`
	Apply    Apply     `json:"apply,omitzero"`

	Authorities  []Authority   `json:"authorities"`    // in the order of the plan
	Certificates []Certificate `json:"certificates"`   // in the order of the plan
	Join         *JoinServer   `json:"join,omitempty"` // on masters
	Etcd         []Etcd        `json:"etcd"`           // the clusters of which the node carries members
	Discovery    *Discovery    `json:"discovery,omitempty"`

	Warnings []Warning `json:"warnings"` // oldest first
	Units    []Unit    `json:"units"`    // in the order of the plan
}

// Stale says why the rest of a Status is history. Only Read fills it in; the file never carries it.
type Stale struct {
	Reason  Reason    `json:"reason"`
	Message string    `json:"message"`
	Hint    string    `json:"hint"`
	Since   time.Time `json:"since"` // the last sign of life
}

// Identity is who this node is, as far as it is known.
type Identity struct {
	Cluster   string `json:"cluster,omitempty"`
	Role      string `json:"role,omitempty"`
	Instance  string `json:"instance,omitempty"` // i-0123456789abcdef0
	Node      string `json:"node,omitempty"`     // the name of its Kubernetes Node
	Zone      string `json:"zone,omitempty"`
	Region    string `json:"region,omitempty"`
	Partition string `json:"partition,omitempty"`
}

// Agent is the process that writes the file. PID and StartTicks together name it even after the PID was reused.
type Agent struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	StartTicks uint64    `json:"startTicks"` // field 22 of /proc/PID/stat
	Started    time.Time `json:"started"`
	Heartbeat  time.Time `json:"heartbeat"`        // written every HeartbeatInterval
	Stopped    time.Time `json:"stopped,omitzero"` // when it ended in an orderly way
	Once       bool      `json:"once,omitempty"`   // it was to end after the boot: the status is not stale for that
}

// Boot is how the agent came up.
type Boot struct {
	Started time.Time `json:"started"`
	Ready   time.Time `json:"ready,omitzero"` // the first time the node was ready
	Seconds float64   `json:"seconds,omitempty"`
	Sources []Source  `json:"sources"` // the layers of the configuration, lowest first
}

// Source is one layer of the configuration.
type Source struct {
	Layer string `json:"layer"` // "defaults", "ami", "store", "user-data", "up"
	From  string `json:"from"`  // a path, an s3:// URL, an IMDS path
}

// Pending is a wait in progress.
type Pending struct {
	Name     string    `json:"name"`
	For      string    `json:"for"`
	Last     string    `json:"last,omitempty"` // what the last try came to
	Since    time.Time `json:"since"`
	Deadline time.Time `json:"deadline,omitzero"`
}

// Assets is where the assets came from.
type Assets struct {
	Source   string    `json:"source"`             // the store or mirror that served the manifest
	Mirrors  []string  `json:"mirrors,omitempty"`  // others that served objects
	Manifest string    `json:"manifest,omitempty"` // digest of the manifest
	Modified time.Time `json:"modified,omitzero"`  // when the manifest was published
	Signed   bool      `json:"signed"`             // its signature was checked against the key of the configuration
	Verified bool      `json:"verified"`           // every object was checked against a digest
	Stale    bool      `json:"stale"`              // a cached manifest was used because no source answered
	Objects  int       `json:"objects"`
	Bytes    int64     `json:"bytes"`   // in all objects
	Fetched  int64     `json:"fetched"` // of these, bytes that came over the network
}

// Apply is the last time the plan was applied.
type Apply struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Changes int       `json:"changes"`
	Changed []string  `json:"changed"`        // paths and units, the first changedShown of them
	Plan    string    `json:"plan,omitempty"` // digest of the plan
}

// Warning is something that an operator should know and that stops nothing.
type Warning struct {
	Reason  Reason    `json:"reason"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
	Since   time.Time `json:"since"`
}

// Unit is a systemd unit, or a process where there is no systemd, that the plan wants.
type Unit struct {
	Name    string    `json:"name"`
	State   string    `json:"state"` // systemd's ActiveState: active, activating, failed, inactive
	Since   time.Time `json:"since,omitzero"`
	Message string    `json:"message,omitempty"` // why it is not active
}

// ExitCode is what `rekindle status` exits with: 0 ready, 1 failed, 3 not yet, degraded, or not known any more.
func (s *Status) ExitCode() int {
	switch {
	case s.State == StateFailed:
		return 1
	case s.State == StateReady && s.Stale == nil:
		return 0
	}
	return 3
}
