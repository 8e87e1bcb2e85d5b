package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"rekindle/agent/apply"
)

// Processes runs units as plain processes, for nodes without systemd: the lab, where a node is a directory, and
// containers. It needs no root user and starts programs of its root only. What it starts outlives it: the next one
// with the same root adopts it.
//
// It is no sandbox: a process sees the real machine. Absolute paths in its arguments are led below the root, and for
// those in its files it finds the root in REKINDLE_ROOT.
type Processes struct {
	host *Host
	log  *slog.Logger
	env  map[string]string

	ctx     context.Context // ends when the runner is closed
	close   context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	units map[string]*service
}

var _ apply.Units = (*Processes)(nil)

// NewProcesses adopts what an earlier runner of the same root started. env is added to the environment of every unit;
// units' own settings win. The caller closes the runner.
func NewProcesses(h *Host, log *slog.Logger, env map[string]string) (*Processes, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Processes{host: h, log: log, env: env, ctx: ctx, close: cancel, units: map[string]*service{}}
	if err := r.adoptAll(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close ends the supervision. The processes go on.
func (r *Processes) Close() {
	r.close()
	r.running.Wait()
}

// StopAll stops every unit that runs, the one started last first. ctx is the deadline of all.
func (r *Processes) StopAll(ctx context.Context) error {
	r.mu.Lock()
	services := make([]*service, 0, len(r.units))
	for _, s := range r.units {
		services = append(services, s)
	}
	r.mu.Unlock()
	slices.SortFunc(services, func(a, b *service) int { return b.started().Compare(a.started()) })
	var errs []error
	for _, s := range services {
		errs = append(errs, s.halt(ctx))
	}
	return errors.Join(errs...)
}

// Reload implements apply.Units. Unit files are read at every start, so there is nothing to do but to say what is
// wrong with them, which systemd would log.
func (r *Processes) Reload(context.Context) error { return nil }

// State implements apply.Units.
func (r *Processes) State(_ context.Context, name string) (apply.UnitState, error) {
	st := apply.UnitState{Load: "loaded", Active: "inactive", Sub: "dead"}
	s := r.unit(name)
	s.mu.Lock()
	st.Active, st.Sub, st.Skipped = s.active, s.sub, s.skipped
	d := s.def
	s.mu.Unlock()
	u, err := r.host.loadUnit(name)
	switch {
	case err != nil:
		st.Load = "bad-setting"
	case u.masked:
		st.Load = "masked"
	case u.fragment == "" && d == nil:
		st.Load = "not-found"
	case u.fragment != "":
		if fresh, err := define(u); err != nil {
			st.Load = "bad-setting"
		} else if d == nil || st.Active == "inactive" || st.Active == "failed" {
			d = fresh
		}
	}
	if d != nil {
		st.Type, st.Remain = d.kind, d.remain
	}
	if u != nil && u.fragment != "" {
		st.File, err = r.fileState(u)
		return st, err
	}
	return st, nil
}

// Do implements apply.Units.
func (r *Processes) Do(ctx context.Context, verb, name string) error {
	s := r.unit(name)
	switch verb {
	case "start":
		s.pardon()
		return r.startWith(ctx, name, nil)
	case "restart":
		if err := s.halt(ctx); err != nil {
			return err
		}
		s.pardon()
		return r.startWith(ctx, name, nil)
	case "reload":
		return s.reload(ctx)
	case "stop":
		return s.halt(ctx)
	}
	return fmt.Errorf("unit %s: %q is not start, restart, reload or stop", name, verb)
}

// startWith starts a unit after those that it requires or wants. chain is the units that wait for it, so that a circle
// ends.
func (r *Processes) startWith(ctx context.Context, name string, chain []string) error {
	if slices.Contains(chain, name) {
		return nil
	}
	d, err := r.definition(name)
	if err != nil {
		return err
	}
	chain = append(slices.Clone(chain), name)
	needed, wished := d.after()
	for i, dep := range slices.Concat(needed, wished) {
		err := r.startDependency(ctx, dep, chain)
		if err != nil && i < len(needed) {
			return &JobError{Unit: name, Verb: "start", Result: "dependency", Words: err.Error()}
		}
		if err != nil {
			r.log.Warn("a unit that is only wanted did not start", "unit", dep, "wanted by", name, "err", err)
		}
	}
	return r.unit(name).start(ctx, d)
}

// startDependency passes over targets that only systemd's own package brings, such as network-online.target.
func (r *Processes) startDependency(ctx context.Context, name string, chain []string) error {
	u, err := r.host.loadUnit(name)
	if err != nil {
		return err
	}
	if _, suffix := splitSuffix(name); u.fragment == "" && suffix != ".service" {
		return nil
	}
	return r.startWith(ctx, name, chain)
}

func (r *Processes) definition(name string) (*definition, error) {
	u, err := r.host.loadUnit(name)
	switch {
	case err != nil:
		return nil, err
	case u.masked:
		return nil, fmt.Errorf("unit %s is masked (systemctl unmask %[1]s)", name)
	case u.fragment == "":
		return nil, fmt.Errorf("unit %s not found in %s", name, strings.Join(unitPath, ", "))
	}
	return define(u)
}

func (r *Processes) unit(name string) *service {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.units[name]
	if s == nil {
		s = &service{runner: r, name: name, turn: make(chan struct{}, 1), active: "inactive", sub: "dead"}
		r.units[name] = s
	}
	return s
}

// JobError is a job that did not do what it was to do.
type JobError struct {
	Unit   string
	Verb   string
	Result string // failed, timeout, dependency, canceled, skipped, ...: systemd's words
	Status string // how its process ended, where it did
	Words  string // the last lines of its log
}

func (e *JobError) Error() string {
	text := e.Result
	if e.Status != "" {
		text += ": " + e.Status
	}
	if e.Words != "" {
		text += ": " + e.Words
	}
	return text
}
