package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// units removes what earlier plans left, has systemd read its files if any changed, and brings each unit into its
// state, in the plan's order. A unit that fails does not keep the ones after it from being tried: a broken addon
// should not cost the node its kubelet, and systemd knows itself what depends on what.
func (a *pass) units(ctx context.Context) error {
	var errs problems
	keep, err := a.retire(ctx)
	if err != nil {
		errs = append(errs, err)
	}
	if err := a.prune(ctx, keep); err != nil { // what is too much does not keep anything from running
		errs = append(errs, err)
		clear(a.unpacking) // these archives are not done with
	}
	if err := a.reload(ctx); err != nil {
		return append(errs, err).err()
	}
	for _, u := range a.plan.Units {
		if err := a.unit(ctx, u); err != nil {
			errs = append(errs, err)
		}
		if err := ctx.Err(); err != nil {
			return append(errs, err).err()
		}
	}
	if err := a.finish(ctx); err != nil { // the files are in place, whatever became of the units
		errs = append(errs, err)
	}
	if a.noTurn != nil {
		errs = append(errs, a.noTurn)
	}
	return errs.err()
}

func (a *pass) reload(ctx context.Context) error {
	touched := a.old.Cut && len(a.plan.Units) > 0
	for p := range a.changed {
		touched = touched || isUnitFile(p)
	}
	for _, u := range a.plan.Units { // a definition that lost a drop-in
		definition, _ := a.inputs(u)
		for p := range a.changed {
			if defines(p, u.Name) && !slices.Contains(definition, p) {
				a.outdate(u.Name)
			}
		}
	}
	if !touched || a.dry {
		return nil
	}
	if err := a.begin(ctx); err != nil {
		return err
	}
	ctx, done := waiting(ctx, a.limit.Unit, "systemd: daemon-reload", "systemd to read the unit files")
	defer done()
	if err := a.Units.Reload(ctx); err != nil {
		return fmt.Errorf("daemon-reload: %w", err)
	}
	return nil
}

func (a *pass) unit(ctx context.Context, u plan.Unit) error {
	switch u.State {
	case plan.Stopped:
		delete(a.rec.Units, u.Name)
		return a.stopped(ctx, u.Name, "")
	case plan.Enabled:
		a.rec.Units[u.Name] = ownedUnit{Path: a.unitPath(u.Name)}
		return a.enable(ctx, u.Name, true)
	}
	if u.Enable || a.unitPath(u.Name) != "" { // the image's own units keep what their packager chose
		if err := a.enable(ctx, u.Name, u.Enable); err != nil {
			return err
		}
	}
	return a.started(ctx, u)
}

// unitPath is the unit's own file, if the plan brings it.
func (a *pass) unitPath(name string) string {
	for _, p := range slices.Sorted(maps.Keys(a.want)) {
		for _, dir := range unitDirs {
			if p == dir+"/"+name {
				return p
			}
		}
	}
	return ""
}

// started starts a unit that does not run, and restarts one that runs with other inputs than the plan's.
func (a *pass) started(ctx context.Context, u plan.Unit) error {
	st, err := a.state(ctx, u.Name)
	if err != nil {
		return err
	}
	digest, definition, err := a.digests(ctx, u)
	if err != nil {
		return err
	}
	was := a.rec.Units[u.Name]
	now := ownedUnit{Digest: digest, Definition: definition, Path: a.unitPath(u.Name)}
	current := was.Digest == digest
	switch {
	case st.Load == "not-found" && !(a.dry && now.Path != ""):
		return unitFailed(u.Name, fmt.Errorf("unit %s: not found (the role must bring its file, or the image must hold it)", u.Name))
	case st.Load == "masked":
		return unitFailed(u.Name, fmt.Errorf("unit %s: masked (systemctl unmask %[1]s)", u.Name))
	case current && settled(st):
		a.rec.Units[u.Name] = now
		return nil
	}
	verb, detail := verbFor(u, st, was, now)
	if verb == "restart" && a.postponed[u.Name] {
		return nil
	}
	drift := current && was.Digest != ""
	if current && st.Skipped { // its condition may hold now; if it does not, nothing has changed
		if err := a.job(ctx, verb, u.Name); err != nil {
			return err
		}
	} else if err := a.reported(ctx, verb, u.Name, detail, drift); err != nil {
		return err
	}
	if !a.dry {
		after, err := a.state(ctx, u.Name)
		if err != nil {
			return err
		}
		if after.Active == "failed" || !running(after) && !oneshot(after) && !after.Skipped {
			return unitFailed(u.Name, fmt.Errorf("unit %s: %s: it is %s (%s)", u.Name, verb, after.Active, after.Sub))
		}
		if after.Skipped && !running(after) && !(current && st.Skipped) {
			a.report.Changes[len(a.report.Changes)-1].Detail = "its condition does not hold"
		}
		if current && st.Skipped && running(after) {
			a.did(Change{Kind: "unit", Name: u.Name, Action: verb, Detail: "its condition holds now"})
		}
	}
	a.rec.Units[u.Name] = now
	return a.save(ctx)
}

// settled tells whether a unit that has its inputs is where it should be.
func settled(st UnitState) bool {
	return running(st) || oneshot(st) && st.Active == "inactive" && !st.Skipped
}

func running(st UnitState) bool {
	return st.Active == "active" || st.Active == "reloading" || st.Active == "refreshing"
}

// oneshot tells whether it is the unit's nature to end; without RemainAfterExit it then is inactive.
func oneshot(st UnitState) bool { return st.Type == "oneshot" && !st.Remain }

func verbFor(u plan.Unit, st UnitState, was, now ownedUnit) (verb, detail string) {
	switch {
	case st.Active == "failed":
		return "start", "it had failed"
	case was.Digest == now.Digest: // activating, or stopped
		if was.Digest != "" && st.Active == "inactive" && !st.Skipped {
			return "start", "it was not running"
		}
		return "start", ""
	case !running(st) && st.Active != "activating":
		return "start", ""
	case u.Reload && running(st) && was.Definition == now.Definition:
		return "reload", "its inputs changed"
	case was.Definition == "":
		return "restart", "it ran before the agent knew its inputs"
	}
	return "restart", "its inputs changed"
}

// stopped stops a unit and keeps it from being started at boot.
func (a *pass) stopped(ctx context.Context, name, why string) error {
	st, err := a.state(ctx, name)
	if err != nil || st.Load == "not-found" {
		return err
	}
	if err := a.enable(ctx, name, false); err != nil {
		return err
	}
	if st.Active == "inactive" || st.Active == "failed" {
		return nil
	}
	return a.reported(ctx, "stop", name, why, false)
}

func (a *pass) state(ctx context.Context, name string) (UnitState, error) {
	ctx, done := waiting(ctx, a.limit.Unit, "unit "+name+": state", "systemd to answer")
	defer done()
	st, err := a.Units.State(ctx, name)
	if err != nil {
		return st, fmt.Errorf("unit %s: %w", name, err)
	}
	return st, nil
}

func (a *pass) enable(ctx context.Context, name string, on bool) error {
	action := map[bool]string{true: "enable", false: "disable"}[on]
	changed := false
	if a.dry {
		st, err := a.state(ctx, name)
		if err != nil {
			return err
		}
		changed = st.File == map[bool]string{true: "disabled", false: "enabled"}[on]
	} else {
		ctx, done := waiting(ctx, a.limit.Unit, "unit "+name+": "+action, "systemd to answer")
		defer done()
		var err error
		if changed, err = a.Units.Enable(ctx, name, on); err != nil {
			return unitFailed(name, fmt.Errorf("unit %s: %s: %w", name, action, err))
		}
	}
	if changed {
		a.did(Change{Kind: "unit", Name: name, Action: action})
	}
	return nil
}

// reported runs a job and reports it. One that failed is reported as well if it may have stopped what ran before.
func (a *pass) reported(ctx context.Context, verb, name, detail string, drift bool) error {
	if !a.dry && verb != "start" {
		a.outdate(name)
		if err := a.begin(ctx); err != nil {
			return err
		}
	}
	err := a.job(ctx, verb, name)
	change := Change{Kind: "unit", Name: name, Action: verb, Detail: detail, Drift: drift}
	if err != nil {
		if verb == "restart" {
			change.Detail = "failed"
			a.did(change)
		}
		a.outdate(name)
		return errors.Join(err, a.save(ctx))
	}
	a.did(change)
	return nil
}

func (a *pass) job(ctx context.Context, verb, name string) error {
	if a.dry {
		return nil
	}
	return a.step(ctx, "unit "+name, func(ctx context.Context) error {
		ctx, done := waiting(ctx, a.limit.Unit, "unit "+name+": "+verb, "its job to end")
		defer done()
		if err := a.Units.Do(ctx, verb, name); err != nil {
			return unitFailed(name, fmt.Errorf("unit %s: %s: %w", name, verb, err))
		}
		return nil
	})
}

func unitFailed(name string, err error) error {
	return status.Fail(status.ReasonUnitFailed, "read `journalctl -u "+name+"`; the agent tries again at its next resync", err)
}
