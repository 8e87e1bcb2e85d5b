package plan

import (
	_ "embed"
	"path"
	"slices"
	"strings"

	"rekindle/agent/config"
)

// flagNames are the flags of the components of Kubernetes 1.34 and 1.37, all in one list; a "*" stands for a part of a
// name. See internal/flaggen.
//
//go:embed flags.txt
var flagNames string

// knownFlags are the lines of flagNames.
func knownFlags() []string { return strings.Fields(flagNames) }

// unknownFlags warns of extra arguments that no component knows: a misspelt flag keeps its component from starting. It
// is a warning only, because the operator's image may be one of their own.
func (m *maker) unknownFlags() {
	known := knownFlags()
	for component, extra := range extraArgs(m.config) {
		for _, name := range keys(extra) {
			if extra[name] == nil || slices.ContainsFunc(known, func(k string) bool { ok, _ := path.Match(k, name); return ok }) {
				continue
			}
			if gone := slices.ContainsFunc(removedFlags, func(r removedFlag) bool { return r.flag == name }); gone {
				continue // checkVersion says more
			}
			hint := ""
			if near := nearest(name, known); near != "" {
				hint = ", did you mean " + near + "?"
			}
			m.warn("%s extraArgs.%s: no component of Kubernetes 1.%d to 1.%d has this flag%s", component, name, minMinor, maxMinor, hint)
		}
	}
}

// nearest is the name that takes the fewest changes of a letter to make, if these are few.
func nearest(name string, known []string) string {
	best, least := "", max(1, len(name)/5)+1
	for _, k := range known {
		if len(name)-len(k) >= least || len(k)-len(name) >= least {
			continue
		}
		if d := config.Edits(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}
