package host

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// definition is a unit file as the process runner understands it. What it does not know (cgroups, namespaces, users,
// credentials) has no effect; what would change what runs is an error.
type definition struct {
	*unitFile
	service bool
	kind    string // simple, exec, notify, oneshot; empty for a target

	pre, start, post, reload, stop, stopPost []command

	remain       bool
	restart      string
	restartDelay time.Duration
	startLimit   time.Duration // zero: none
	stopLimit    time.Duration
	burst        int
	interval     time.Duration
	killSignal   syscall.Signal
	killMode     string
	success      []int // exit statuses besides 0
}

func define(u *unitFile) (*definition, error) {
	d := &definition{unitFile: u}
	switch _, suffix := splitSuffix(u.name); suffix {
	case ".service":
		d.service = true
	case ".target", ".slice":
		return d, nil
	default:
		return nil, fmt.Errorf("unit %s: the process runner, for nodes without systemd, runs services and targets only", u.name)
	}
	for _, step := range []func() error{d.readCommands, d.readType, d.readTimes, d.readEnd} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("%s: %w", u.fragment, err)
		}
	}
	return d, nil
}

func (d *definition) readCommands() error {
	for _, exec := range []struct {
		key  string
		into *[]command
	}{
		{"ExecStartPre", &d.pre},
		{"ExecStart", &d.start},
		{"ExecStartPost", &d.post},
		{"ExecReload", &d.reload},
		{"ExecStop", &d.stop},
		{"ExecStopPost", &d.stopPost},
	} {
		for _, line := range d.all("Service." + exec.key) {
			commands, err := parseCommand(line, d.name)
			if err != nil {
				return fmt.Errorf("%s=%s: %w", exec.key, line, err)
			}
			*exec.into = append(*exec.into, commands...)
		}
	}
	return nil
}

func (d *definition) readType() error {
	otherwise := "simple"
	if len(d.start) == 0 {
		otherwise = "oneshot"
	}
	d.kind = d.last("Service.Type", otherwise)
	d.remain = d.yes("Service.RemainAfterExit")
	switch d.kind {
	case "simple", "exec", "idle", "notify", "notify-reload":
		if len(d.start) != 1 {
			return fmt.Errorf("Type=%s needs one ExecStart, has %d", d.kind, len(d.start))
		}
	case "oneshot":
		if len(d.start) == 0 && len(d.stop) == 0 {
			return fmt.Errorf("has no ExecStart")
		}
	default:
		return fmt.Errorf("Type=%s: the process runner knows simple, exec, notify and oneshot", d.kind)
	}
	return nil
}

func (d *definition) readTimes() error {
	start := "90s"
	if d.kind == "oneshot" {
		start = "infinity"
	}
	both := d.last("Service.TimeoutSec", "")
	if both != "" {
		start = both
	}
	for _, span := range []struct {
		key, otherwise string
		into           *time.Duration
	}{
		{"Service.TimeoutStartSec", start, &d.startLimit},
		{"Service.TimeoutStopSec", or(both, "90s"), &d.stopLimit},
		{"Service.RestartSec", "100ms", &d.restartDelay},
		{"Unit.StartLimitIntervalSec", d.last("Unit.StartLimitInterval", d.last("Service.StartLimitInterval", "10s")), &d.interval},
	} {
		var err error
		if *span.into, err = timespan(d.last(span.key, span.otherwise)); err != nil {
			return fmt.Errorf("%s: %w", span.key, err)
		}
	}
	burst, err := strconv.Atoi(d.last("Unit.StartLimitBurst", d.last("Service.StartLimitBurst", "5")))
	if err != nil {
		return fmt.Errorf("StartLimitBurst: %w", err)
	}
	d.burst = burst
	return nil
}

func (d *definition) readEnd() (err error) {
	d.restart = d.last("Service.Restart", "no")
	known := []string{"no", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog", "always"}
	if !slices.Contains(known, d.restart) {
		return fmt.Errorf("Restart=%s: not one of %s", d.restart, strings.Join(known, ", "))
	}
	d.killMode = d.last("Service.KillMode", "control-group")
	if d.killSignal, err = signalOf(d.last("Service.KillSignal", "SIGTERM")); err != nil {
		return fmt.Errorf("KillSignal: %w", err)
	}
	for _, text := range d.list("Service.SuccessExitStatus") {
		if n, err := strconv.Atoi(text); err == nil {
			d.success = append(d.success, n)
		}
	}
	return nil
}

// after is the units that have to run first, and of these the ones that may fail.
func (d *definition) after() (needed, wished []string) {
	needed = append(d.list("Unit.Requires"), d.list("Unit.BindsTo")...)
	return needed, d.list("Unit.Wants")
}

// conditions tells whether the unit is to be started at all.
func (d *definition) conditions(h *Host) (bool, error) {
	for key, want := range map[string]func(Entry) bool{
		"Unit.ConditionPathExists":        func(e Entry) bool { return e.Kind != "" },
		"Unit.ConditionPathIsDirectory":   func(e Entry) bool { return e.Kind == "dir" },
		"Unit.ConditionFileNotEmpty":      func(e Entry) bool { return e.Kind == "file" && e.Stamp.Size > 0 },
		"Unit.ConditionDirectoryNotEmpty": func(e Entry) bool { return e.Kind == "dir" && !e.Empty },
	} {
		for _, value := range d.all(key) {
			p, not := strings.CutPrefix(value, "!")
			p, err := specifiers(strings.TrimSpace(p), d.name)
			if err != nil {
				return false, err
			}
			entry, err := h.Look(path.Clean(p))
			if err != nil {
				return false, err
			}
			if want(entry) == not {
				return false, nil
			}
		}
	}
	return true, nil
}

// clean tells whether an exit is a success.
func (d *definition) clean(e exit) bool {
	if e.signal != 0 {
		return d.kind != "oneshot" && slices.Contains([]syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE}, e.signal)
	}
	return !e.unknown && (e.code == 0 || slices.Contains(d.success, e.code))
}

// restarts is the table of Restart= in systemd.service(5).
func (d *definition) restarts(e exit) bool {
	switch d.restart {
	case "always":
		return true
	case "on-success":
		return d.clean(e)
	case "on-failure":
		return !d.clean(e)
	case "on-abnormal":
		return e.signal != 0 && !d.clean(e)
	case "on-abort":
		return e.signal != 0 && !d.clean(e)
	}
	return false
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
