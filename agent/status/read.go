package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// silentAfter is when a live agent that does not write counts as silent: a few lost heartbeats.
const silentAfter = 6 * HeartbeatInterval

// Read reads a status file and, in Stale, says whether its agent still stands behind it. It must run on the machine,
// and in the PID namespace, of the agent. The error is fs.ErrNotExist when no agent has run since the machine booted.
func Read(path string) (*Status, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("status: %w: the agent has not run since this machine booted (systemctl status rekindle)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	s, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("status: %s: %w", path, err)
	}
	s.Stale = staleness(s.Agent, s.Agent.running(), time.Now())
	return s, nil
}

// Parse decodes the content of a status file. Unknown keys are ignored: the file may be a newer agent's.
func Parse(data []byte) (*Status, error) {
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if s.Version < 1 || s.Version > Version {
		return nil, fmt.Errorf("version %d, this binary reads 1 to %d (use the rekindle binary that runs as the agent)",
			s.Version, Version)
	}
	return &s, nil
}

func staleness(a Agent, running bool, now time.Time) *Stale {
	stale := func(reason Reason, message string, since time.Time) *Stale {
		return &Stale{Reason: reason, Message: message, Hint: reason.Hint(), Since: since}
	}
	silent := now.Sub(a.Heartbeat)
	switch {
	case !a.Stopped.IsZero() && a.Once:
		return nil
	case !a.Stopped.IsZero():
		return stale(ReasonAgentStopped, "the agent is not running since "+clock(a.Stopped), a.Stopped)
	case !running:
		return stale(ReasonAgentStopped, "the agent is not running since "+clock(a.Heartbeat)+
			" or up to "+HeartbeatInterval.String()+" later: it was killed or it crashed", a.Heartbeat)
	case silent > silentAfter:
		return stale(ReasonAgentSilent, "the agent is silent since "+clock(a.Heartbeat), a.Heartbeat)
	}
	return nil
}

// clock is a time the way all texts of this package show it: in UTC, as in the journals one compares it with.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
