package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestAdopt restarts the runner under units that run, as a restart of the agent does.
func TestAdopt(t *testing.T) {
	h := machine(t)
	first, err := NewProcesses(h, nil, quick)
	check(t, err)
	install(t, h, "a.service", "[Service]\nType=notify\nRestart=always\nRestartSec=1ms\nExecStart=/usr/bin/helper append=/tmp/runs:x pid=/tmp/pid ready stay\n")
	install(t, h, "done.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/helper append=/tmp/once:x\n")
	install(t, h, "dies.service", "[Service]\nType=notify\nExecStart=/usr/bin/helper pid=/tmp/dies ready stay\n")
	for _, name := range []string{"a.service", "done.service", "dies.service"} {
		check(t, first.Do(t.Context(), "start", name))
	}
	pid := content(t, h, "/tmp/pid")
	first.Close()
	kill(t, content(t, h, "/tmp/dies"))

	second := bench{h, runner(t, h)}
	second.is(t, "a.service", "active", "running")
	second.is(t, "done.service", "active", "exited")
	eventually(t, "dies.service is seen to have ended", func() bool {
		st, err := second.State(t.Context(), "dies.service")
		return err == nil && st.Active == "failed"
	})
	if content(t, h, "/tmp/pid") != pid {
		t.Fatal("another process runs")
	}
	kill(t, pid)
	eventually(t, "restarted", func() bool {
		return strings.Count(content(t, h, "/tmp/runs"), "x") == 2 && content(t, h, "/tmp/pid") != pid
	})
	eventually(t, "running", func() bool {
		st, err := second.State(t.Context(), "a.service")
		return err == nil && st.Active == "active"
	})
	second.do(t, "stop", "a.service")
	second.do(t, "stop", "done.service")
	if names, _ := h.List(stateDir); len(names) > 0 {
		t.Errorf("left %q", names)
	}
}

func kill(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	check(t, err)
	check(t, syscall.Kill(n, syscall.SIGKILL))
}

// TestAdoptStranger has state files that name processes of somebody else, or make no sense.
func TestAdoptStranger(t *testing.T) {
	h := machine(t)
	self := os.Getpid()
	ticks, err := startTicks(self)
	check(t, err)
	for name, text := range map[string]string{
		"pid.service":  `{"phase":"running","pid":` + strconv.Itoa(self) + `,"ticks":1,"boot":"` + bootID() + `"}`,
		"boot.service": `{"phase":"running","pid":` + strconv.Itoa(self) + `,"ticks":` + strconv.FormatUint(ticks, 10) + `,"boot":"another"}`,
		"junk.service": `{`,
	} {
		install(t, h, name, "[Service]\nExecStart=/usr/bin/helper stay\n")
		put(t, h, File{Path: filepath.Join(stateDir, name+".json"), Mode: 0o600, Content: []byte(text)})
	}
	b := bench{h, runner(t, h)}
	for _, name := range []string{"pid.service", "boot.service", "junk.service"} {
		if st, err := b.State(t.Context(), name); err != nil || st.Active == "active" {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
}

// TestStopAll leaves nothing running, and takes what a unit started with it.
func TestStopAll(t *testing.T) {
	h := machine(t)
	r, err := NewProcesses(h, nil, quick)
	check(t, err)
	defer r.Close()
	install(t, h, "a.service", "[Service]\nType=notify\nRuntimeDirectory=a\nExecStart=/usr/bin/helper pid=/tmp/a ready stay\n")
	install(t, h, "b.service", "[Service]\nRestart=always\nRestartSec=1h\nExecStart=/usr/bin/helper exit=1\n")
	check(t, r.Do(t.Context(), "start", "a.service"))
	_ = r.Do(t.Context(), "start", "b.service")
	check(t, r.StopAll(t.Context()))
	pid, err := strconv.Atoi(content(t, h, "/tmp/a"))
	check(t, err)
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("a.service still runs")
	}
	if e, _ := h.Look("/run/a"); e.Kind != "" {
		t.Error("its RuntimeDirectory stayed")
	}
}
