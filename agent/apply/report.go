package apply

import (
	"fmt"

	"rekindle/agent/status"
)

// Report is what an apply changed, in order. It is empty when nothing was.
type Report struct {
	Changes  []Change `json:"changes,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Empty tells whether nothing was changed.
func (r Report) Empty() bool { return len(r.Changes) == 0 }

// Change is one thing that was changed.
type Change struct {
	Kind   string `json:"kind"`   // dir, file, asset, cert, etcd or unit
	Name   string `json:"name"`   // its path, name of the etcd cluster, or name of the unit
	Action string `json:"action"` // create, update, renew, chmod, remove; start, restart, reload, stop, enable, disable
	Detail string `json:"detail,omitempty"`
	// Drift is set when the plan had not changed, but somebody had changed the machine.
	Drift bool `json:"drift,omitempty"`
}

// String is the change as one line.
func (c Change) String() string {
	line := c.Action + " " + c.Kind + " " + c.Name
	if c.Detail != "" {
		line += ": " + c.Detail
	}
	return line
}

// Error is why an apply ended early.
type Error struct {
	Step   string
	Report Report // what was changed before
	Err    error
}

func (e *Error) Error() string {
	switch n := len(e.Report.Changes); n {
	case 0:
		return fmt.Sprintf("apply: %s: %v; nothing was changed", e.Step, e.Err)
	case 1:
		return fmt.Sprintf("apply: %s: %v; 1 change was made: %s", e.Step, e.Err, e.Report.Changes[0])
	default:
		return fmt.Sprintf("apply: %s: %v; %d changes were made, the last: %s", e.Step, e.Err, n, e.Report.Changes[n-1])
	}
}

func (e *Error) Unwrap() error { return e.Err }

// blamed gives err a reason, unless it has one.
func blamed(reason status.Reason, err error) error {
	if r, _ := status.ReasonOf(err); err == nil || r != status.ReasonUnknown {
		return err
	}
	return status.Fail(reason, "", err)
}
