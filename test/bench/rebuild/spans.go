package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/node"
)

// The spans of a rebuild, in their order; total is their sum. Those of the restore are parts of it.
const (
	total     = "rebuild_seconds"
	launch    = "rebuild_launch_seconds"       // from the kill to the agent's exec
	toRestore = "rebuild_boot_to_etcd_seconds" // facts, store, authorities, certificates, lineage
	restoring = "rebuild_restore_seconds"
	toUnit    = "rebuild_to_unit_seconds"    // files, the other assets, the units before etcd's
	starting  = "rebuild_etcd_start_seconds" // from the start of etcd's unit to its first answer
)

// parts are those of the restore, as the agent logs them, in their order.
var parts = []string{"fetch", "deltas", "rewrite", "verify", "sync"}

func partName(part string) string { return "rebuild_restore_" + part + "_seconds" }

// sample is one rebuild.
type sample struct {
	spans    map[string]time.Duration
	database int64 // bytes
}

func (s *sample) measure(master *node.Node, killed, served time.Time) error {
	timeline, err := master.Timeline()
	if err != nil {
		return err
	}
	log, err := os.ReadFile(master.Log)
	if err != nil {
		return err
	}
	if s.spans, err = split(timeline, killed, master.Started(), served); err != nil {
		return err
	}
	return s.restore(string(log))
}

// split says where the time between the kill and the first answer went.
func split(timeline *status.Timeline, killed, started, served time.Time) (map[string]time.Duration, error) {
	restore, unit := find(timeline.Root, "etcd "+cluster+": restore"), find(timeline.Root, "unit etcd-"+cluster+".service")
	if restore == nil || unit == nil {
		return nil, errors.New("the timeline has no restore, or no start of etcd: the agent took more than one attempt")
	}
	return map[string]time.Duration{
		total: served.Sub(killed), launch: started.Sub(killed), toRestore: restore.Start.Sub(started),
		restoring: restore.End.Sub(restore.Start), toUnit: unit.Start.Sub(restore.End), starting: served.Sub(unit.Start),
	}, nil
}

// find is the first step of that name.
func find(s *status.Span, name string) *status.Span {
	if s.Name == name {
		return s
	}
	for _, step := range s.Steps {
		if found := find(step, name); found != nil {
			return found
		}
	}
	return nil
}

// restore reads the parts of the restore out of the agent's log.
func (s *sample) restore(log string) error {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, " etcd restored ") {
			continue
		}
		for _, part := range parts {
			_, rest, found := strings.Cut(line, " "+part+"=")
			value, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			took, err := time.ParseDuration(value)
			if !found || err != nil {
				return fmt.Errorf("no %s in %q", part, line)
			}
			s.spans[partName(part)] = took
		}
		return nil
	}
	return errors.New("the agent's log does not say that etcd was restored")
}
