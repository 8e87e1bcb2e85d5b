// Package agent is the whole story on one page: Boot brings the node to what its plan says, Run does so and stays.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/etcd"
	"rekindle/agent/host"
	"rekindle/agent/join"
	"rekindle/agent/log"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// Paths on the node that the agent owns.
const (
	ConfigDir    = "/etc/rekindle"               // *.yaml: the image's layer of the configuration
	UpPath       = "/var/lib/rekindle/up.yaml"   // what `rekindle up` handed over
	CacheDir     = "/var/lib/rekindle/cache"     // verified objects
	TimelinePath = "/var/lib/rekindle/boot.json" // the timeline of the last boot
	StatusPath   = "/run/rekindle/status.json"
)

// Options are what the command line gives.
type Options struct {
	Root    string // "/" or a directory that plays a node
	Version string
	Units   apply.Units // who runs the units; the agent does not close it
	Logger  *slog.Logger
	Console io.Writer       // gets the one line at the end of a boot; nil: nobody
	Again   <-chan struct{} // each value asks for a resync now (SIGHUP)
	Once    bool            // end after the first attempt to boot
}

// Agent is one run of the agent on one node.
type Agent struct {
	Options
	host  *host.Host
	board *status.Board // nil where a verb only looks
	said  string        // what the console was told last

	memory     etcd.Memory
	wake       chan struct{} // asks for a resync now, from within
	metrics    *status.Metrics
	serving    sync.Once
	searching  sync.Once
	background sync.WaitGroup
	spawn      func(loop func(ctx context.Context)) // runs it until the agent is told to stop
}

// Run boots, as often as it takes, and then keeps the node as its plan says until ctx ends.
func Run(ctx context.Context, options Options) (err error) {
	a := newAgent(options)
	unlock, err := a.lock()
	if err != nil {
		return err
	}
	defer unlock()
	path, err := a.host.Path(StatusPath)
	if err != nil {
		return err
	}
	a.board = status.NewBoard(path, a.Version, a.Logger)
	a.metrics = status.NewMetrics(a.board, join.Reasons()...)
	a.metrics.Alive = a.alive
	if a.Once {
		a.board.SetOnce() // an agent that has ended is then no reason for alarm
		a.serving.Do(func() {})
		a.searching.Do(func() {})
	}
	defer func() { err = errors.Join(err, a.board.Close()) }()
	defer a.background.Wait()
	running, stop := context.WithCancel(ctx)
	defer stop()
	a.spawn = func(loop func(context.Context)) { a.background.Go(func() { loop(running) }) }
	n, err := a.bootUntilReady(ctx)
	switch {
	case ctx.Err() != nil:
		return nil // told to stop: that is no failure
	case err != nil || a.Once:
		return err
	}
	return a.stay(ctx, n)
}

func newAgent(options Options) *Agent {
	return &Agent{Options: options, host: host.New(options.Root), wake: make(chan struct{}, 1)}
}

// node is what one boot found out and did. Config and Role are read once, Facts move.
type node struct {
	*inputs
	want   *plan.Plan
	report apply.Report
}

// Boot brings the node to what its plan says: read, gather, make, apply. Again and again does no harm.
func (a *Agent) boot(ctx context.Context) (*node, error) {
	n, err := a.look(ctx)
	if err != nil {
		return nil, err
	}
	n.engine.Placed = func() { a.serve(n) }
	n.engine.Turns = a.turns(n)
	return n, a.sync(ctx, n)
}

// look reads what was asked for and gathers what is there; it changes nothing but the cache.
func (a *Agent) look(ctx context.Context) (*node, error) {
	in, err := a.read(ctx)
	if err != nil {
		return nil, err
	}
	return &node{inputs: in}, nil
}

// plan says what the node must look like, by its present facts.
func (a *Agent) plan(ctx context.Context, n *node) (_ *plan.Plan, err error) {
	_, span := status.Step(ctx, "plan")
	defer func() { span.Done(err) }()
	want, err := plan.Make(plan.Input{Config: n.config, Role: n.role, Facts: n.facts, Manifest: n.digests()})
	if err != nil {
		return nil, err
	}
	a.warn(want.Warnings)
	return want, nil
}

// sync makes a plan and applies it.
func (a *Agent) sync(ctx context.Context, n *node) (err error) {
	start := time.Now()
	if n.want, err = a.plan(ctx, n); err != nil {
		return err
	}
	a.find(n)
	if a.served() {
		a.serve(n)
	}
	n.report, err = n.engine.Apply(ctx, n.want)
	if err == nil {
		err = a.settle(ctx, n)
	}
	a.tellUnits(ctx, n.want)
	a.tellRenewals(n.report)
	a.board.Applied(digest(n.want), time.Since(start), changed(n.report)...)
	return err
}

// settle confirms etcd members, and applies once more where one was given a configuration that is for its first start only:
// with "new", or with the members that it joined.
func (a *Agent) settle(ctx context.Context, n *node) (err error) {
	if len(n.want.Etcd) == 0 {
		return nil
	}
	ctx, span := status.Step(ctx, "etcd: confirm")
	defer func() { span.Done(err) }()
	first := false
	for _, member := range n.want.Etcd {
		ctx, cancel := context.WithTimeout(ctx, n.config.Timeouts.Etcd)
		confirmed, err := n.keeper.Confirm(ctx, member)
		cancel()
		if err != nil {
			return err
		}
		// What Confirm has to do may be done already, by those who watch the member.
		first = first || confirmed || slices.ContainsFunc(n.report.Changes, func(c apply.Change) bool { return c.Name == member.ConfigPath })
	}
	if !first {
		return nil
	}
	more, err := n.engine.Apply(ctx, n.want)
	n.report.Changes = append(n.report.Changes, more.Changes...)
	return err
}

// The pauses between two attempts to boot.
const (
	firstPause = 2 * time.Second
	lastPause  = time.Minute
)

func (a *Agent) bootUntilReady(ctx context.Context) (*node, error) {
	stage := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		n, err := a.attempt(ctx, stage)
		if err == nil || a.Once || ctx.Err() != nil {
			return n, err
		}
		reason, _ := status.ReasonOf(err)
		stage = fmt.Sprintf("trying again after %s: %s", reason, status.Message(err))
		wait := pause/2 + rand.N(pause) // nodes that failed together do not come back together
		a.Logger.Info("trying again", "pause", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil, err
		case <-a.Again:
		case <-time.After(wait):
		}
	}
}

// attempt is one boot with its timeline, its status, and its line on the console.
func (a *Agent) attempt(ctx context.Context, stage string) (*node, error) {
	timeline := status.NewTimeline("boot", a.board.Snapshot().Boot.Started)
	ctx = status.WithWaits(status.WithTimeline(ctx, timeline), a.board)
	a.board.Booting(stage)
	a.notify("STATUS=booting")
	n, err := a.boot(ctx)
	timeline.Root.Done(err)
	a.board.Fetched(timeline.Snapshot().Root.Total())
	timeline.Identify(a.board.Snapshot().Identity)
	a.save(timeline)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("the boot was interrupted: %w", err)
	}
	if errors.Is(err, apply.ErrNoTurn) { // all else is done, and the next resync asks for a turn again
		a.ready(n, timeline)
		a.board.Degrade(err)
		a.Logger.Warn("ready, but for what needs a turn", "error", err)
		return n, nil
	}
	if err != nil {
		a.failed(err)
		return nil, err
	}
	a.ready(n, timeline)
	return n, nil
}

func (a *Agent) ready(n *node, timeline *status.Timeline) {
	a.board.Ready()
	now := a.board.Snapshot()
	a.tell(status.ConsoleReady(now, timeline), "ready")
	a.Logger.Info("ready", log.MessageID(log.MessageReady), "role", n.want.Role, "instance", n.facts.Instance.ID,
		"seconds", now.Boot.Seconds, "changes", len(n.report.Changes))
	if err := a.board.Sync(); err != nil { // units that are ordered after this one may ask at once
		a.Logger.Warn("status", "error", err)
	}
	a.notify(host.Ready + "\nSTATUS=ready: " + n.want.Role + " of " + n.want.Cluster)
	a.background.Go(func() { a.wrapUp(n, timeline) })
}

// wrapUp does what nobody waits for: it makes the cache durable, drops from it what the store no longer lists, and leaves
// the boot's timeline in the store.
func (a *Agent) wrapUp(n *node, timeline *status.Timeline) {
	ctx, cancel := context.WithTimeout(context.Background(), wrapUpTimeout)
	defer cancel()
	if err := n.objects.Settle(ctx); err != nil {
		a.Logger.Warn("the cache of assets is not durable yet: a power cut would make the next boot fetch again", "error", err)
	}
	if freed, err := n.objects.Prune(ctx); err != nil {
		a.Logger.Warn("the cache of assets could not be pruned", "error", err)
	} else if freed > 0 {
		a.Logger.Info("pruned the cache of assets", "freed", status.Bytes(freed))
	}
	if err := n.record(ctx, timeline); err != nil {
		a.Logger.Info("boot record", "error", err)
	}
}

func (a *Agent) failed(err error) {
	a.board.Fail(err)
	now := a.board.Snapshot()
	a.tell(status.ConsoleFailed(now, time.Since(now.Boot.Started)), string(now.Reason)+now.Message)
	a.Logger.Error(now.Message, log.MessageID(log.MessageFailed), "reason", now.Reason, "hint", now.Hint)
	a.notify("STATUS=failed: " + string(now.Reason))
}

// notify tells systemd what the agent is at; without systemd nobody listens.
func (a *Agent) notify(state string) {
	if err := host.Notify(state); err != nil {
		a.Logger.Debug("notify", "error", err)
	}
}

// alive is what the watchdog asks: every wait and step passes through the board, so an agent whose board is stuck is.
func (a *Agent) alive() error {
	a.board.Snapshot()
	return nil
}

// tell writes a line to the console, unless the last one was about the same: attempts that fail alike fill no console.
func (a *Agent) tell(line, about string) {
	if a.Console == nil || about == a.said {
		return
	}
	a.said = about
	if _, err := fmt.Fprintln(a.Console, line); err != nil {
		a.Logger.Debug("console", "error", err)
	}
}

// save keeps the timeline on the node.
func (a *Agent) save(timeline *status.Timeline) {
	path, err := a.host.Path(TimelinePath)
	if err == nil {
		err = timeline.Save(path)
	}
	if err != nil {
		a.Logger.Warn("the timeline could not be kept", "path", TimelinePath, "error", err)
	}
}

// stay gathers, makes and applies again on a timer and on demand. A failure degrades the node; it never ends the agent.
func (a *Agent) stay(ctx context.Context, n *node) error {
	a.background.Go(func() {
		if err := host.Watchdog(ctx, a.Logger, a.alive); err != nil {
			a.Logger.Warn("watchdog", "error", err)
		}
	})
	for {
		resync := n.config.Timeouts.Resync
		select {
		case <-ctx.Done():
			a.notify("STOPPING=1")
			return nil
		case <-a.Again:
		case <-a.wake:
		case <-time.After(resync - resync/10 + rand.N(resync/5)): // a tenth either way: nodes do not move in step
		}
		a.repair(status.WithWaits(ctx, a.board), n)
	}
}

func (a *Agent) repair(ctx context.Context, n *node) {
	seen, err := n.again(ctx)
	if err == nil {
		n.facts = seen
		err = a.sync(ctx, n)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.board.Degrade(err)
		a.Logger.Error("resync", "error", err)
	default:
		a.board.Ready()
		a.tellDrift(n.report)
	}
}
