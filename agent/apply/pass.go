package apply

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"rekindle/agent/config"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// pass is one walk over a plan.
type pass struct {
	*Engine
	plan  *plan.Plan
	dry   bool
	log   *slog.Logger
	limit config.Timeouts

	report Report
	old    *record // as the last apply left it
	rec    *record // as this one will leave it
	saved  []byte  // the record on disk

	want    map[string]File   // the files to be, by path, with their content
	hosts   []byte            // the lines that the plan has for the hosts file
	sums    map[string]string // digest of content and mode of all that is to be, by path
	needed  map[string]bool   // directories that have to stay
	changed map[string]bool   // paths whose content this pass replaces
	held    map[string]Held   // the authorities' and certificates' files, by path

	makeDirs []dirChange
	fetching []*placement
	placing  []*placement

	turn      func(context.Context, error) error // ends the turn that was taken
	noTurn    error                              // why there was none
	postponed map[string]bool                    // the units that keep running as they are, for want of a turn

	unpacking map[string]ownedAsset // what finish will record, once what the archives held before is gone too
	orphans   map[string]ownedEntry // what they hold no longer, by path
}

func newPass(e *Engine, p *plan.Plan, dry bool) *pass {
	log := e.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &pass{
		Engine: e, plan: p, dry: dry, log: log, limit: limits(e.Timeouts),
		want: map[string]File{}, sums: map[string]string{}, needed: map[string]bool{}, changed: map[string]bool{},
		held: map[string]Held{}, postponed: map[string]bool{}, unpacking: map[string]ownedAsset{}, orphans: map[string]ownedEntry{},
	}
}

// step runs one step, under a span of the timeline unless it is only looked at.
func (a *pass) step(ctx context.Context, name string, do func(context.Context) error) (err error) {
	if a.dry {
		return do(ctx)
	}
	ctx, span := status.Step(ctx, name)
	defer func() { span.Done(err) }()
	if err := ctx.Err(); err != nil {
		return err
	}
	return blamed(status.ReasonApplyFailed, do(ctx))
}

func (a *pass) did(c Change) {
	a.report.Changes = append(a.report.Changes, c)
	if !a.dry {
		a.log.Info("changed", c.Kind, c.Name, "action", c.Action, "detail", c.Detail, "drift", c.Drift)
	}
}

func (a *pass) warn(text string) {
	a.report.Warnings = append(a.report.Warnings, text)
	a.log.Warn(text)
}

// Limits for a configuration that sets none. Every wait has a deadline.
const (
	assetsLimit = 30 * time.Minute
	etcdLimit   = 30 * time.Minute
	joinLimit   = 15 * time.Minute
	turnLimit   = 30 * time.Minute
	unitLimit   = 5 * time.Minute
)

func limits(t config.Timeouts) config.Timeouts {
	or := func(d, limit time.Duration) time.Duration {
		if d <= 0 {
			return limit
		}
		return d
	}
	t.Assets, t.Etcd, t.Join = or(t.Assets, assetsLimit), or(t.Etcd, etcdLimit), or(t.Join, joinLimit)
	t.Turn, t.Unit = or(t.Turn, turnLimit), or(t.Unit, unitLimit)
	return t
}

// waiting bounds a wait and gives it its name.
func waiting(ctx context.Context, limit time.Duration, name, forWhat string) (context.Context, func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: nothing after %s: %w", name, limit, context.DeadlineExceeded))
	done := status.Waiting(ctx, name, forWhat)
	return ctx, func() {
		done()
		cancel()
	}
}
