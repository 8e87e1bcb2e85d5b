package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// Disk is the member's directory. Every method can be cut at any instruction, and is then called again.
type Disk interface {
	// Inspect says what lies there. Its error says nothing about the data.
	Inspect(ctx context.Context, member plan.Etcd) (datadir.Found, error)
	// Busy tells whether etcd runs on it, at once.
	Busy(ctx context.Context, member plan.Etcd) (bool, error)
	// Gone tells whether there is no data, at once.
	Gone(ctx context.Context, member plan.Etcd) (bool, error)
	// Mark writes the marker.
	Mark(ctx context.Context, member plan.Etcd, marker datadir.Marker) error
	// SetAside puts data and marker beside.
	SetAside(ctx context.Context, member plan.Etcd, why string) error
	// Build makes the data of a new generation's first member, and its marker.
	Build(ctx context.Context, member plan.Etcd, build Build) (Built, error)
}

// Build is an order for a data directory.
type Build struct {
	Marker datadir.Marker // of the data to be
	// Own: from the data that lies there, of an older generation, unless a backup reaches farther.
	Own bool
	// Backups are those to start from, the best first; one that turns out to be corrupt is passed over, and said.
	Backups []backup.Entry
}

// Built is what became of it.
type Built struct {
	Backup   string // what it was restored from; empty: own data
	Revision int64
	Warnings []string
}

// ErrNothingToBuild says that neither own data nor a backup could be used.
var ErrNothingToBuild = errors.New("neither own data nor a backup can be used")

// Asked is what others say, when Decide needs it.
type Asked struct {
	// Trace tells whether anything is or was under a prefix of the store.
	Trace func(ctx context.Context, prefix string) (bool, error)
	// Backups lists those of a cluster, the best to start from first.
	Backups func(ctx context.Context, cluster string) ([]backup.Entry, error)
	// Instances is EC2's word. It asks about this instance, too, and fails if that is not found.
	Instances func(ctx context.Context, ids []string) (Instances, error)
	// Dial speaks to living members.
	Dial func(ctx context.Context, member plan.Etcd, endpoints []peers.Endpoint) (peers.Cluster, error)
}

// Keeper prepares the members of this node.
type Keeper struct {
	Records  store.Records
	Disk     Disk
	Notes    Notes
	Ask      Asked
	Instance string // this instance's id
	// Path is where a path of the plan really lies.
	Path func(path string) (string, error)
	// Halt stops etcd, whoever runs it, and returns when it is gone.
	Halt func(ctx context.Context, member plan.Etcd) error
	// Hosts keeps the lines that map the names in members' URLs to addresses, in the machine's hosts file.
	Hosts func(ctx context.Context, member plan.Etcd, lines []byte) error
	// Leads tells whether the member that runs here knows a leader; nil: it is taken to.
	Leads func(ctx context.Context, member plan.Etcd) bool
	// Well returns once the member serves; nil: its metrics listener is asked.
	Well func(ctx context.Context, member plan.Etcd) error
	// Made, unless nil, is told when the data of a generation was made.
	Made   func(member plan.Etcd, order Build, built Built, took time.Duration)
	Poll   time.Duration // between two looks at what somebody else must change; 0: 2 s
	Logger *slog.Logger
	// Observe, unless nil, is told of every decision.
	Observe func(member plan.Etcd, facts Facts, action Action)

	// Memory is shared by the keepers of one agent, one after the other; nil: this keeper's own.
	Memory *Memory
	own    Memory

	random func(time.Duration) time.Duration // nil: rand.N; a test that must be the same again has its own
}

// Prepare decides about a member, does what the decision asks for, step by step, and returns etcd's configuration file. It
// waits, under ctx, for what may change by itself, and fails with status.ReasonEtcdBlocked where only the operator can help.
func (k *Keeper) Prepare(ctx context.Context, member plan.Etcd) ([]byte, error) {
	said := ""
	var refused *store.Version // of the record that could not be replaced, though it was the one in the store
	for {
		facts, version, err := k.observe(ctx, member)
		if err != nil {
			return nil, fmt.Errorf("etcd %s: %w", member.Name, err)
		}
		if refused != nil && *refused == version {
			if err := k.wait(ctx, member.Name, unchanged(member)); err != nil {
				return nil, err
			}
			refused = nil
			continue
		}
		action := k.decide(ctx, member, &facts)
		if action.Row+action.Why != said {
			said = action.Row + action.Why
			k.Logger.Info("etcd decision", "etcd", member.Name, "verdict", action.Verdict, "row", action.Row, "why", action.Why)
		}
		done, err := k.do(ctx, member, facts, version, action)
		switch {
		case errors.Is(err, store.ErrConflict):
			refused = &version // somebody was faster: decide again on what they wrote
		case errors.Is(err, errAgain):
			if err := k.wait(ctx, member.Name, Action{Why: err.Error(), Hint: action.Hint}); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, fmt.Errorf("etcd %s: %s: %w", member.Name, action.Verdict, err)
		case done != nil:
			return done, k.tellHosts(ctx, member, facts.Record)
		}
	}
}

// unchanged is what to do about a store that refuses a write because the record changed, and then shows the one that was there
// before: another write may be under way, and may yet fail.
func unchanged(member plan.Etcd) Action {
	return Action{
		Why:  "the store refuses to write " + Key(member.Name) + " as if it had changed, and it has not",
		Hint: "look whether another master writes it all the time, or whether the store honours If-Match and If-None-Match",
	}
}

// decide gathers what Decide asks for, until it has an answer.
func (k *Keeper) decide(ctx context.Context, member plan.Etcd, facts *Facts) Action {
	for {
		action := Decide(*facts)
		switch action.Need {
		case NeedTrace:
			if facts.Trace = k.trace(ctx, member); facts.Trace.Found {
				if _, _, err := k.read(ctx, member.Name); !errors.Is(err, store.ErrAbsent) {
					return Action{Verdict: Wait, Row: "create", Why: "another master has just written the record"}
				}
			}
		case NeedQuorum:
			facts.Quorum = k.quorum(ctx, member, facts.Record)
		case NeedInstances:
			facts.Instances = k.instances(ctx, facts.Record)
		case NeedBackups:
			entries, err := k.Ask.Backups(ctx, member.Name)
			facts.Backups = &Backups{Entries: entries, Unknown: err}
		default:
			if k.Observe != nil {
				k.Observe(member, *facts, action)
			}
			return action
		}
	}
}

// errAgain says that a step could not be done now: look again after a pause.
var errAgain = errors.New("not yet")

func again(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errAgain}, args...)...)
}

// do takes one step. It returns etcd's configuration file once that is known.
func (k *Keeper) do(ctx context.Context, member plan.Etcd, facts Facts, was store.Version, action Action) ([]byte, error) {
	switch action.Verdict {
	case SetAside, Report, Position: // whoever starts etcd again when it ends must not, while its data is dealt with
		if err := k.Halt(ctx, member); err != nil {
			return nil, err
		}
	}
	switch action.Verdict {
	case Start:
		return k.start(ctx, member, *facts.Found.Marker)
	case Begin:
		return k.config(member, *facts.Found.Marker, "new", nil)
	case Create:
		return nil, k.create(ctx, member, was)
	case TakeOver:
		return nil, k.createAgain(ctx, member, facts.Record, was)
	case Claim:
		return nil, k.claim(ctx, member, facts, was)
	case Report:
		return nil, k.report(ctx, member, facts.Record, was)
	case Position:
		return nil, k.position(ctx, member, facts, was)
	case SetAside:
		return nil, k.Disk.SetAside(ctx, member, action.Why)
	case Halt:
		k.Logger.Warn("stopping etcd", "etcd", member.Name, "why", action.Why)
		return nil, k.Halt(ctx, member)
	case Join:
		return k.join(ctx, member, facts, was)
	case Restore:
		return nil, k.restore(ctx, member, facts, was)
	case Rescue:
		return nil, k.rescue(ctx, member, facts, was)
	case Wait:
		return nil, k.wait(ctx, member.Name, action)
	}
	return nil, status.Fail(status.ReasonEtcdBlocked, action.Hint, errors.New(action.Why))
}

// wait pauses before the next look, a quarter either way: masters that boot together do not move in step.
func (k *Keeper) wait(ctx context.Context, name string, action Action) error {
	defer status.Waiting(ctx, "etcd "+name, action.Why)()
	poll := k.Poll
	if poll == 0 {
		poll = 2 * time.Second
	}
	select {
	case <-time.After(k.jittered(poll)):
		return nil
	case <-ctx.Done():
		return status.Fail(status.ReasonEtcdBlocked, action.Hint,
			fmt.Errorf("etcd %s: %s: %w", name, action.Why, context.Cause(ctx)))
	}
}

// jittered is d, a quarter either way.
func (k *Keeper) jittered(d time.Duration) time.Duration {
	if k.random != nil {
		return d - d/4 + k.random(d/2)
	}
	return d - d/4 + rand.N(d/2)
}
