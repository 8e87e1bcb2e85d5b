// Package apply makes the machine look like a plan. It is the only code that changes the machine. Applying twice
// changes nothing and reports nothing.
package apply

import (
	"context"

	"rekindle/agent/plan"
)

// Units starts and stops units: systemd over D-Bus, or processes in the lab. Both pass one suite.
type Units interface {
	// Reload reads the unit files again.
	Reload(ctx context.Context) error
	// State says what the unit is doing now. An unknown unit has Load "not-found" and no error.
	State(ctx context.Context, name string) (UnitState, error)
	// Do runs a job to its end and returns its failure: verb is start, restart, reload or stop. ctx is its deadline.
	Do(ctx context.Context, verb, name string) error
	// Enable makes systemd start the unit at boot, or not; it says whether that changed anything.
	Enable(ctx context.Context, name string, on bool) (changed bool, err error)
}

// UnitState is systemd's view of a unit.
type UnitState struct {
	Load   string // loaded, not-found, masked, error
	Active string // active, inactive, failed, activating, ...
	Sub    string // running, exited, dead, ...
	Type   string // simple, notify, oneshot, ...; empty when it is no service
}

// Assets brings the plan's objects to the node: the store's cache.
type Assets interface {
	// Fetch returns when every object is verified in the cache.
	Fetch(ctx context.Context, assets []plan.Asset) error
	// File is the path of a fetched object in the cache, on the real filesystem, and its sha256.
	File(asset plan.Asset) (path, sha256 string, err error)
}

// Etcd decides about one member and returns etcd's configuration file, complete.
type Etcd interface {
	// Prepare may wait, under ctx. It never touches a data directory that holds sound data.
	Prepare(ctx context.Context, member plan.Etcd) (config []byte, err error)
}

// Secrets reads what a Ref points to.
type Secrets interface {
	Read(ctx context.Context, ref string) ([]byte, error)
}
