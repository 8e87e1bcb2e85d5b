package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"rekindle/agent/plan"
)

// unitDirs is where systemd looks for units, first match first.
var unitDirs = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// isUnitFile tells whether systemd has to read its files again when p changes.
func isUnitFile(p string) bool {
	return slices.ContainsFunc(unitDirs, func(dir string) bool { return strings.HasPrefix(p, dir+"/") })
}

// defines tells whether the file p defines the unit: its fragment, its template, or a drop-in of either.
func defines(p, unit string) bool {
	names := []string{unit}
	if prefix, instance, ok := strings.Cut(unit, "@"); ok {
		_, suffix, _ := cutLast(instance, ".")
		names = append(names, prefix+"@."+suffix)
	}
	for _, dir := range unitDirs {
		for _, name := range names {
			if p == path.Join(dir, name) || path.Dir(p) == path.Join(dir, name+".d") && path.Ext(p) == ".conf" {
				return true
			}
		}
	}
	return false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// inputs is the paths that the unit reads: those of the plan that define it, and its inputs.
func (a *pass) inputs(u plan.Unit) (definition, inputs []string) {
	wanted := slices.Clone(u.Inputs)
	for _, member := range a.plan.Etcd {
		if member.Unit == u.Name {
			wanted = append(wanted, member.ConfigPath)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(a.sums)) {
		if defines(p, u.Name) {
			definition = append(definition, p)
		}
	}
	inputs = slices.DeleteFunc(a.reads(wanted), func(p string) bool { return slices.Contains(definition, p) })
	return definition, inputs
}

// digests is what the unit is started with, and the part of it that only a restart takes up.
func (a *pass) digests(ctx context.Context, u plan.Unit) (all, definition string, err error) {
	defined, inputs := a.inputs(u)
	h := sha256.New()
	fmt.Fprintf(h, "%s %s\n", u.Name, u.State)
	for _, p := range defined {
		fmt.Fprintf(h, "%s %s\n", p, a.sums[p])
	}
	definition = hex.EncodeToString(h.Sum(nil))
	if err := a.hashInputs(ctx, h, inputs); err != nil {
		return "", "", fmt.Errorf("unit %s: %w", u.Name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), definition, nil
}

// foreign is the digest of a file that the plan does not bring.
func (a *pass) foreign(ctx context.Context, p string) (string, error) {
	entry, err := a.Host.Look(p)
	if err != nil {
		return "", err
	}
	if entry.Kind == KindNone || entry.Kind == KindOther {
		return entry.Kind, nil
	}
	if entry.Kind == KindDir {
		names, err := a.Host.List(p)
		return strings.Join(names, "/"), err
	}
	sum, err := a.Host.Sum(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return sum, err
}

// forget drops the digest of every unit that reads what this pass replaces. If the pass is cut after the files were
// written, the next one still knows that these units run with older ones.
func (a *pass) forget() {
	for _, u := range a.plan.Units {
		if a.touched(u) {
			a.outdate(u.Name)
		}
	}
}

// touched tells whether this pass replaces anything that the unit reads.
func (a *pass) touched(u plan.Unit) bool {
	definition, inputs := a.inputs(u)
	return slices.ContainsFunc(append(definition, inputs...), func(p string) bool { return a.changed[p] })
}

func (a *pass) outdate(unit string) {
	if owned, ok := a.rec.Units[unit]; ok {
		owned.Digest = ""
		a.rec.Units[unit] = owned
	}
}
