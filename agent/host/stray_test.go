package host

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// lethal is a log whose writer is killed when it says that a unit has a process.
type lethal struct{ unit string }

func (lethal) Enabled(context.Context, slog.Level) bool { return true }
func (l lethal) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l lethal) WithGroup(string) slog.Handler          { return l }

func (l lethal) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "unit has a process" {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "unit" && a.Value.String() == l.unit {
			must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
		}
		return true
	})
	return nil
}

// strand is a runner that starts b.service, and is killed as soon as a.service has a process.
func strand(root string) {
	r, err := NewProcesses(New(root), slog.New(lethal{"a.service"}), quick)
	must(err)
	must(r.Do(context.Background(), "start", "b.service"))
	must(r.Do(context.Background(), "start", "a.service"))
	must(errors.New("it was not killed"))
}

// runs tells whether a process is there, and has not ended.
func runs(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// awaitPID waits for what the helper writes with pid=, and returns it.
func awaitPID(t *testing.T, h *Host, file string) (pid string) {
	t.Helper()
	eventually(t, file, func() bool {
		data, err := h.Read(file)
		pid = string(data)
		return err == nil && pid != ""
	})
	t.Cleanup(func() { // whatever the test found
		if n, err := strconv.Atoi(pid); err == nil && runs(pid) {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	})
	return pid
}

// killRunner has strand do what it does to a root.
func killRunner(t *testing.T, h *Host) {
	t.Helper()
	program, err := h.Path("/usr/bin/helper")
	check(t, err)
	out, err := exec.CommandContext(t.Context(), program, "strand="+h.root).CombinedOutput()
	if err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the runner: %v\n%s", err, out)
	}
}

// TestKilledAtStart kills a runner when a unit has a process and is not up yet. The next one starts the unit, although
// the process holds what there is only one of, and leaves alone what is not of that unit, or not of that root.
func TestKilledAtStart(t *testing.T) {
	for name, c := range map[string]struct {
		settings, verb string
		childLives     bool
	}{
		"obeys":           {verb: "stay"},
		"is deaf":         {"TimeoutStopSec=1s\n", "deaf", false},
		"its child stays": {"KillMode=process\n", "stay", true},
	} {
		t.Run(name, func(t *testing.T) {
			h, other := machine(t), machine(t)
			only := rand.Text()
			for root, hold := range map[*Host]string{h: only, other: only + "-other"} {
				install(t, root, "a.service", "[Service]\n"+c.settings+
					"ExecStart=/usr/bin/helper hold="+hold+" fork=/tmp/child pid=/tmp/a "+c.verb+"\n")
			}
			install(t, h, "b.service", "[Service]\nExecStart=/usr/bin/helper pid=/tmp/b stay\n")
			check(t, runner(t, other).Do(t.Context(), "start", "a.service"))
			stranger, child := awaitPID(t, other, "/tmp/a"), awaitPID(t, other, "/tmp/child")
			killRunner(t, h)
			beside, stray, itsChild := awaitPID(t, h, "/tmp/b"), awaitPID(t, h, "/tmp/a"), awaitPID(t, h, "/tmp/child")
			check(t, h.Remove("/tmp/a"))

			b := bench{h, runner(t, h)}
			if runs(stray) || runs(itsChild) != c.childLives {
				t.Errorf("the stray runs: %t, its child: %t", runs(stray), runs(itsChild))
			}
			b.do(t, "start", "a.service")
			if awaitPID(t, h, "/tmp/a") == stray {
				t.Error("no other process was started")
			}
			b.is(t, "a.service", "active", "running")
			b.is(t, "b.service", "active", "running")
			if !runs(beside) || !runs(stranger) || !runs(child) {
				t.Errorf("run: another unit %t, another root's unit %t, its child %t", runs(beside), runs(stranger), runs(child))
			}
		})
	}
}

// What goes before the main process is no longer at work when the unit is started again.
func TestKilledBeforeMain(t *testing.T) {
	for kind, text := range map[string]string{
		"notify":  "Type=notify\nExecStartPre=/usr/bin/helper pid=/tmp/a orphan stay\nExecStart=/usr/bin/helper ready stay\n",
		"oneshot": "Type=oneshot\nExecStart=/usr/bin/helper pid=/tmp/a orphan stay\n",
	} {
		t.Run(kind, func(t *testing.T) {
			h := machine(t)
			install(t, h, "a.service", "[Service]\n"+text)
			install(t, h, "b.service", "[Service]\nExecStart=/usr/bin/helper pid=/tmp/b stay\n")
			killRunner(t, h)
			pid := awaitPID(t, h, "/tmp/a")
			b := bench{h, runner(t, h)}
			if runs(pid) {
				t.Error("it runs")
			}
			b.is(t, "a.service", "inactive", "dead")
			b.is(t, "b.service", "active", "running")
		})
	}
}

// A state file that another root's was copied from names a start whose processes are that root's.
func TestCopiedRoot(t *testing.T) {
	h, copied := machine(t), machine(t)
	install(t, h, "a.service", "[Service]\nExecStart=/usr/bin/helper pid=/tmp/a stay\n")
	r := runner(t, h)
	check(t, r.Do(t.Context(), "start", "a.service"))
	pid := awaitPID(t, h, "/tmp/a")
	s := r.unit("a.service")
	check(t, s.remember(phaseStarting))
	state, err := h.Read(s.statePath())
	check(t, err)
	put(t, copied, File{Path: s.statePath(), Mode: 0o600, Content: state})
	runner(t, copied)
	if !runs(pid) {
		t.Error("the process of the root that was copied has been ended")
	}
}
