// Package apply makes the machine look like a plan. It is the only code that changes the machine. Applying twice
// changes nothing and reports nothing.
//
// An apply that cannot succeed should be found out before it changes anything: the plan is checked, secrets are read,
// assets are fetched and verified, certificates are issued and etcd is decided first; then all files are staged, and renamed together; units
// come last. What was done is kept in a record (record.go), and an apply that was cut at any instruction is completed
// by the next one.
package apply

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"rekindle/agent/config"
	"rekindle/agent/plan"
)

// Units starts and stops units: systemd over D-Bus, or processes in the lab. Both pass one suite.
type Units interface {
	// Reload reads the unit files again.
	Reload(ctx context.Context) error
	// State says what the unit is doing now. An unknown unit has Load "not-found" and no error.
	State(ctx context.Context, name string) (UnitState, error)
	// Do runs a job to its end and returns its failure, with the unit's last words: verb is start, restart, reload or
	// stop. ctx is its deadline. A unit that failed before gets a new chance, whatever its start limit says.
	Do(ctx context.Context, verb, name string) error
	// Enable makes systemd start the unit at boot, or not; it says whether that changed anything. A unit without an
	// [Install] section is not enabled by anything, and that is no error.
	Enable(ctx context.Context, name string, on bool) (changed bool, err error)
}

// UnitState is systemd's view of a unit.
type UnitState struct {
	Load    string // loaded, not-found, masked, error
	Active  string // active, inactive, failed, activating, ...
	Sub     string // running, exited, dead, ...
	Type    string // simple, notify, oneshot, ...; empty when it is no service
	Remain  bool   // RemainAfterExit: active after its process ended
	Skipped bool   // its last start was skipped, since a Condition did not hold
	File    string // enabled, disabled, static, ...: whether it is started at boot
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
	// Prepare may wait, under ctx. It never touches a data directory that holds sound data, unless by the lineage's word.
	// With read it gets the node's certificates as they are going to be: new ones are put in place only after it.
	Prepare(ctx context.Context, member plan.Etcd, read func(path string) ([]byte, error)) (config []byte, err error)
}

// Secrets reads what a Ref points to.
type Secrets interface {
	Read(ctx context.Context, ref string) ([]byte, error)
}

// Certs holds the node's authorities and certificates.
type Certs interface {
	// Hold returns every file of the plan's authorities and certificates: what is on the disk while it is good, else
	// new ones. It may wait, under ctx, for the store or for a master. With dry it neither waits nor issues: a file that
	// it would issue has no Content then. A renewal that fails while the old certificate is still good is a warning.
	Hold(ctx context.Context, p *plan.Plan, dry bool) (held []Held, warnings []string, err error)
}

// Held is one file of an authority or a certificate.
type Held struct {
	File
	// Why it is new: "none yet", "10 of 30 days left", "its names changed". Empty: it is what is on the disk.
	Why string
}

// Turns keeps the nodes of a cluster from disrupting it at the same time.
type Turns interface {
	// Take waits, under ctx, until it is this node's turn to restart what. Done ends the turn: the engine calls it once,
	// with what became of the restart, and it returns when others may go on: after the node is healthy again, or err.
	// The turn ends even if the context of done has, as it has when the agent is told to stop.
	Take(ctx context.Context, what []string) (done func(ctx context.Context, err error) error, err error)
}

// Engine applies plans to one machine, one at a time.
type Engine struct {
	Host    Host
	Units   Units
	Assets  Assets  // may be nil for plans without assets
	Etcd    Etcd    // may be nil for plans without etcd
	Certs   Certs   // may be nil for plans without authorities and certificates
	Secrets Secrets // may be nil for plans without references
	Turns   Turns   // nil: nobody else is there
	// Placed, unless nil, is called when all files are in place and before units are touched.
	Placed func()
	// Unpack extracts an archive of the cache into an empty directory, both on the real filesystem. It refuses what
	// would land outside.
	Unpack   func(ctx context.Context, archive, dir string) error
	Timeouts config.Timeouts
	Logger   *slog.Logger

	mu sync.Mutex
}

// Apply makes the machine look like p. The report holds what was changed, also when there is an error, which then is
// an *Error.
func (e *Engine) Apply(ctx context.Context, p *plan.Plan) (Report, error) {
	return e.walk(ctx, p, false)
}

// Preview is what Apply would change. It touches nothing, fetches nothing, issues nothing and waits for nothing, so it
// cannot know what etcd will be told, nor an asset whose plan has no digest.
func (e *Engine) Preview(ctx context.Context, p *plan.Plan) (Report, error) {
	return e.walk(ctx, p, true)
}

func (e *Engine) walk(ctx context.Context, p *plan.Plan, dry bool) (Report, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := newPass(e, p, dry)
	if err := a.walk(ctx); err != nil {
		return a.report, err
	}
	return a.report, nil
}

func (a *pass) walk(ctx context.Context) (failed *Error) {
	failed = &Error{Step: "apply", Err: errors.New("it ended in the middle")} // what others are told of a panic
	defer func() { failed = a.endTurn(ctx, failed) }()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"check", a.check}, // changes nothing
		{"dirs", a.dirs},
		{"fetch", a.fetch}, // assets beside certificates and etcd; changes nothing that runs
		{"files", a.place}, // assets, certificates and files together
		{"units", a.units}, // and what an earlier plan left
	} {
		if err := a.step(ctx, step.name, step.do); err != nil {
			return &Error{Step: step.name, Report: a.report, Err: err}
		}
	}
	return nil
}
