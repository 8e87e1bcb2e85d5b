package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// ErrNoTurn says that what disrupts the cluster was left as it is, since the node could not get its turn. All else of
// the plan was done.
var ErrNoTurn = errors.New("no turn to restart")

// takeTurn waits until this node may disrupt the cluster, if what is to be done does. One turn is for all of it. What
// cannot have its turn is left for the next apply; certificates and all else do not wait for that.
func (a *pass) takeTurn(ctx context.Context, w *work) error {
	if a.dry || a.Turns == nil {
		return nil
	}
	files, units, err := a.disruptive(ctx, w)
	what := slices.Concat(units, files)
	if err != nil || len(what) == 0 {
		return err
	}
	err = a.step(ctx, "turn", func(ctx context.Context) (err error) {
		ctx, done := waiting(ctx, a.limit.Turn, "turn", "this node's turn to restart "+strings.Join(what, ", "))
		defer done()
		a.turn, err = a.Turns.Take(ctx, what)
		return err
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	a.turn = nil
	a.postpone(w, files, units)
	a.noTurn = fmt.Errorf("%w %s: %w", ErrNoTurn, strings.Join(what, ", "), err)
	if reason, _ := status.ReasonOf(err); reason == status.ReasonApplyFailed {
		a.noTurn = status.Fail(reason, "what runs is left as it is; the agent tries again at its next resync", a.noTurn)
	}
	return nil
}

// disruptive is the exclusive files that would change under a unit that runs, and the exclusive units that run and
// would be restarted.
func (a *pass) disruptive(ctx context.Context, w *work) (files, units []string, err error) {
	states := map[string]UnitState{}
	state := func(unit string) (UnitState, error) {
		st, ok := states[unit]
		if ok {
			return st, nil
		}
		st, err := a.state(ctx, unit)
		states[unit] = st
		return st, err
	}
	for _, u := range a.plan.Units {
		if !u.Exclusive || u.State != plan.Started {
			continue
		}
		st, err := state(u.Name)
		if err != nil {
			return nil, nil, err
		}
		if again, err := a.restartsUnit(ctx, u, st); err != nil {
			return nil, nil, err
		} else if again {
			units = append(units, u.Name)
		}
	}
	for _, f := range a.plan.Files {
		if f.Exclusive == "" || w.changes[f.Path].Action != "update" {
			continue
		}
		st, err := state(f.Exclusive)
		if err != nil {
			return nil, nil, err
		}
		if running(st) || st.Active == "activating" {
			files = append(files, f.Path)
		}
	}
	return files, units, nil
}

// restartsUnit tells whether a unit is going to be restarted, before anything was written.
func (a *pass) restartsUnit(ctx context.Context, u plan.Unit, st UnitState) (bool, error) {
	digest, definition, err := a.digests(ctx, u)
	if err != nil {
		return false, err
	}
	was := a.rec.Units[u.Name]
	if a.touched(u) {
		was.Digest = "" // as forget will say
	}
	if was.Digest == digest || st.Load != "loaded" {
		return false, nil
	}
	verb, _ := verbFor(u, st, was, ownedUnit{Digest: digest, Definition: definition})
	return verb == "restart", nil
}

// postpone leaves exclusive files as they are, and has exclusive units run on. The record keeps saying that they are
// not what the plan asks for.
func (a *pass) postpone(w *work, files, units []string) {
	for _, unit := range units {
		a.postponed[unit] = true
	}
	for _, p := range files {
		delete(w.changes, p)
		delete(a.changed, p)
		delete(a.rec.Files, p)
		if owned, known := a.old.Files[p]; known {
			a.rec.Files[p] = owned
			a.sums[p] = owned.sum() // with which its units run
		}
	}
	w.files = slices.DeleteFunc(w.files, func(f File) bool { return slices.Contains(files, f.Path) })
}

// endTurn lets others go on: it tells the turn what became of the apply, and adds what becomes of the turn.
func (a *pass) endTurn(ctx context.Context, failed *Error) *Error {
	end := a.turn
	if end == nil {
		return failed
	}
	a.turn = nil
	var outcome error
	if failed != nil { // a nil *Error is not a nil error
		outcome = failed
	}
	ctx, span := status.Step(ctx, "turn: end")
	ctx, done := waiting(ctx, a.limit.Turn, "turn: end", "this node to be healthy again")
	defer done()
	err := end(ctx, outcome)
	span.Done(err)
	switch {
	case err == nil || failed != nil && errors.Is(err, failed):
		return failed
	case failed != nil:
		return &Error{Step: failed.Step, Report: a.report, Err: problems{failed.Err, err}}
	}
	return &Error{Step: "turn", Report: a.report, Err: blamed(status.ReasonApplyFailed, err)}
}
