package host

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rekindle/agent/apply"
)

// bench is a machine with something that runs its units.
type bench struct {
	*Host
	apply.Units
}

// testUnits is what every implementation of apply.Units does alike.
func testUnits(t *testing.T, open func(t *testing.T, h *Host) apply.Units) {
	for name, test := range map[string]func(t *testing.T, b bench){
		"unknown":        unknownUnit,
		"simple":         simpleUnit,
		"notify":         notifyUnit,
		"never ready":    neverReady,
		"dies unready":   diesUnready,
		"fails and heal": failsAndHeals,
		"oneshot":        oneshotUnit,
		"remains":        remainingUnit,
		"restart reload": restartAndReload,
		"no reload":      noReload,
		"enable":         enableUnit,
		"static":         staticUnit,
		"masked":         maskedUnit,
		"drop-in":        dropInUnit,
		"dependency":     dependencyFails,
		"requires":       requiresFirst,
		"condition":      conditionHolds,
		"start limit":    startLimit,
		"template":       templateUnit,
		"deaf":           deafUnit,
		"stopped twice":  stoppedTwice,
		"bad verb":       badVerb,
	} {
		t.Run(name, func(t *testing.T) {
			h := machine(t)
			test(t, bench{h, open(t, h)})
		})
	}
}

func (b bench) install(t *testing.T, name, text string) {
	t.Helper()
	install(t, b.Host, name, text)
	check(t, b.Reload(t.Context()))
}

func (b bench) do(t *testing.T, verb, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	check(t, b.Do(ctx, verb, name))
}

// fails runs a job that must fail, and returns its error.
func (b bench) fails(t *testing.T, verb, name string, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := b.Do(ctx, verb, name)
	if err == nil {
		t.Fatalf("%s %s: no error", verb, name)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s %s: %q is not in the error: %v", verb, name, text, err)
		}
	}
}

func (b bench) is(t *testing.T, name, active, sub string) {
	t.Helper()
	st, err := b.State(t.Context(), name)
	check(t, err)
	if st.Active != active || sub != "" && st.Sub != sub {
		t.Fatalf("%s is %s (%s), want %s (%s)", name, st.Active, st.Sub, active, sub)
	}
}

func unknownUnit(t *testing.T, b bench) {
	st, err := b.State(t.Context(), "ghost.service")
	check(t, err)
	if st.Load != "not-found" || st.Active != "inactive" {
		t.Errorf("state %+v", st)
	}
	b.fails(t, "start", "ghost.service", "ghost.service", "not found")
	if _, err := b.Enable(t.Context(), "ghost.service", true); err == nil {
		t.Error("enabled")
	}
	if changed, err := b.Enable(t.Context(), "ghost.service", false); err != nil || changed {
		t.Errorf("disable: %v, %v", changed, err)
	}
}

func simpleUnit(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nExecStart=/usr/bin/helper pid=/tmp/pid stay\n")
	b.do(t, "start", "a.service")
	b.is(t, "a.service", "active", "running")
	eventually(t, "pid", func() bool { _, err := b.Read("/tmp/pid"); return err == nil })
	pid := content(t, b.Host, "/tmp/pid")
	b.do(t, "start", "a.service")
	b.do(t, "stop", "a.service")
	b.is(t, "a.service", "inactive", "dead")
	if content(t, b.Host, "/tmp/pid") != pid {
		t.Error("starting a unit that runs started it again")
	}
}

func notifyUnit(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nType=notify\nExecStart=/usr/bin/helper pause=100ms pid=/tmp/up ready stay\n")
	b.do(t, "start", "a.service")
	content(t, b.Host, "/tmp/up") // written before it was ready
	b.is(t, "a.service", "active", "running")
	st, err := b.State(t.Context(), "a.service")
	check(t, err)
	if st.Type != "notify" {
		t.Errorf("type %q", st.Type)
	}
}

func neverReady(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nType=notify\nTimeoutStartSec=3s\nExecStart=/usr/bin/helper print=nearly stay\n")
	b.fails(t, "start", "a.service", "timeout", "nearly")
	b.is(t, "a.service", "failed", "failed")

	b.install(t, "b.service", "[Service]\nType=notify\nExecStart=/usr/bin/helper stay\n")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Do(ctx, "start", "b.service"); !strings.Contains(errText(err), "deadline") {
		t.Errorf("past its deadline: %v", err)
	}
	b.do(t, "stop", "b.service")
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func diesUnready(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nType=notify\nExecStart=/usr/bin/helper \"print=cannot open /x\" exit=3\n")
	b.fails(t, "start", "a.service", "failed", "3", "cannot open /x")
	b.is(t, "a.service", "failed", "failed")
}

func failsAndHeals(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nExecStartPre=/usr/bin/helper need=/tmp/cause\nExecStart=/usr/bin/helper stay\n")
	b.fails(t, "start", "a.service", "failed", "4", "no such file")
	b.is(t, "a.service", "failed", "failed")
	put(t, b.Host, File{Path: "/tmp/cause", Mode: 0o644})
	b.do(t, "start", "a.service")
	b.is(t, "a.service", "active", "running")
}

func oneshotUnit(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nType=oneshot\nExecStart=/usr/bin/helper append=/tmp/runs:one\nExecStart=-/usr/bin/helper exit=1\nExecStart=/usr/bin/helper append=/tmp/runs:two\n")
	b.do(t, "start", "a.service")
	b.is(t, "a.service", "inactive", "dead")
	b.do(t, "start", "a.service")
	if got := content(t, b.Host, "/tmp/runs"); got != "one\ntwo\none\ntwo" {
		t.Errorf("ran %q", got)
	}
	st, err := b.State(t.Context(), "a.service")
	check(t, err)
	if st.Type != "oneshot" || st.Remain {
		t.Errorf("state %+v", st)
	}
	b.install(t, "bad.service", "[Service]\nType=oneshot\nExecStart=/usr/bin/helper \"print=no luck\" exit=7\n")
	b.fails(t, "start", "bad.service", "failed", "7", "no luck")
	b.is(t, "bad.service", "failed", "failed")
}

func remainingUnit(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/helper append=/tmp/runs:up\nExecStop=/usr/bin/helper append=/tmp/runs:down\n")
	b.do(t, "start", "a.service")
	b.is(t, "a.service", "active", "exited")
	st, err := b.State(t.Context(), "a.service")
	check(t, err)
	if !st.Remain {
		t.Error("does not say that it remains")
	}
	b.do(t, "start", "a.service")
	b.do(t, "stop", "a.service")
	b.is(t, "a.service", "inactive", "dead")
	if got := content(t, b.Host, "/tmp/runs"); got != "up\ndown" {
		t.Errorf("ran %q", got)
	}
}

func restartAndReload(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nType=notify\nExecStart=/usr/bin/helper append=/tmp/runs:x pid=/tmp/pid ready stay=/tmp/hup\nExecReload=/usr/bin/helper hup=${MAINPID}\n")
	b.do(t, "start", "a.service")
	first := content(t, b.Host, "/tmp/pid")
	b.do(t, "reload", "a.service")
	eventually(t, "SIGHUP", func() bool { _, err := b.Read("/tmp/hup"); return err == nil })
	b.is(t, "a.service", "active", "running")
	if content(t, b.Host, "/tmp/pid") != first {
		t.Error("a reload started another process")
	}
	b.do(t, "restart", "a.service")
	b.is(t, "a.service", "active", "running")
	if content(t, b.Host, "/tmp/runs") != "x\nx" || content(t, b.Host, "/tmp/pid") == first {
		t.Error("not restarted")
	}
	b.do(t, "stop", "a.service")
	b.do(t, "restart", "a.service") // starts what is stopped
	b.is(t, "a.service", "active", "running")
}

func noReload(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nExecStart=/usr/bin/helper stay\n")
	b.do(t, "start", "a.service")
	b.fails(t, "reload", "a.service")
	b.is(t, "a.service", "active", "running")
}

func enableUnit(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nExecStart=/usr/bin/helper stay\n[Install]\nWantedBy=multi-user.target\nAlias=alias.service\n")
	link := "/etc/systemd/system/multi-user.target.wants/a.service"
	for _, step := range []struct {
		on, changed bool
		state, link string
	}{
		{false, false, "disabled", ""},
		{true, true, "enabled", "/etc/systemd/system/a.service"},
		{true, false, "enabled", "/etc/systemd/system/a.service"},
		{false, true, "disabled", ""},
		{false, false, "disabled", ""},
	} {
		changed, err := b.Enable(t.Context(), "a.service", step.on)
		check(t, err)
		st, err := b.State(t.Context(), "a.service")
		check(t, err)
		entry, err := b.Look(link)
		check(t, err)
		if changed != step.changed || st.File != step.state || entry.Link != step.link {
			t.Errorf("enable %v: changed %v, state %q, link %q", step.on, changed, st.File, entry.Link)
		}
	}
	b.is(t, "a.service", "inactive", "dead")
}

func staticUnit(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nExecStart=/usr/bin/helper stay\n")
	for _, on := range []bool{true, false} {
		if changed, err := b.Enable(t.Context(), "a.service", on); err != nil || changed {
			t.Errorf("enable %v: %v, %v", on, changed, err)
		}
	}
	st, err := b.State(t.Context(), "a.service")
	check(t, err)
	if st.File != "static" {
		t.Errorf("state %q", st.File)
	}
}

func maskedUnit(t *testing.T, b bench) {
	check(t, b.link("/dev/null", "/etc/systemd/system/a.service"))
	check(t, b.Reload(t.Context()))
	st, err := b.State(t.Context(), "a.service")
	check(t, err)
	if st.Load != "masked" {
		t.Errorf("load %q", st.Load)
	}
	b.fails(t, "start", "a.service", "a.service", "masked")
}

func dropInUnit(t *testing.T, b bench) {
	put(t, b.Host,
		File{Path: "/usr/lib/systemd/system/a.service", Mode: 0o644, Content: []byte("[Service]\nType=oneshot\nEnvironment=X=image\nExecStart=/usr/bin/helper exit=1\n")},
		File{Path: "/etc/systemd/system/a.service.d/10-x.conf", Mode: 0o644, Content: []byte("[Service]\nEnvironment=X=dropin\nExecStart=\nExecStart=/usr/bin/helper env=/tmp/x:X\n")})
	check(t, b.Reload(t.Context()))
	b.do(t, "start", "a.service")
	if got := content(t, b.Host, "/tmp/x"); got != "dropin" {
		t.Errorf("X is %q", got)
	}
}

func dependencyFails(t *testing.T, b bench) {
	b.install(t, "dep.service", "[Service]\nType=oneshot\nExecStart=/usr/bin/helper exit=1\n")
	b.install(t, "a.service", "[Unit]\nRequires=dep.service\nAfter=dep.service\n[Service]\nExecStart=/usr/bin/helper pid=/tmp/ran stay\n")
	b.fails(t, "start", "a.service", "dependency")
	if _, err := b.Read("/tmp/ran"); err == nil {
		t.Error("started without what it requires")
	}
}

func requiresFirst(t *testing.T, b bench) {
	b.install(t, "dep.service", "[Service]\nType=notify\nExecStart=/usr/bin/helper pause=50ms pid=/tmp/dep ready stay\n")
	b.install(t, "wish.service", "[Service]\nType=oneshot\nExecStart=/usr/bin/helper exit=1\n")
	b.install(t, "a.service", "[Unit]\nRequires=dep.service\nWants=wish.service network-online.target\nAfter=dep.service wish.service\n[Service]\nType=oneshot\nExecStart=/usr/bin/helper need=/tmp/dep exit=0\n")
	put(t, b.Host, File{Path: "/etc/dep", Mode: 0o644})
	b.do(t, "start", "a.service")
	b.is(t, "dep.service", "active", "running")
}

func conditionHolds(t *testing.T, b bench) {
	b.install(t, "a.service", "[Unit]\nConditionPathExists=/tmp/go\n[Service]\nExecStart=/usr/bin/helper stay\n")
	b.do(t, "start", "a.service")
	st, err := b.State(t.Context(), "a.service")
	check(t, err)
	if st.Active != "inactive" || !st.Skipped {
		t.Errorf("state %+v", st)
	}
	put(t, b.Host, File{Path: "/tmp/go", Mode: 0o644})
	b.do(t, "start", "a.service")
	b.is(t, "a.service", "active", "running")
}

func startLimit(t *testing.T, b bench) {
	b.install(t, "a.service", "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=3\n[Service]\nRestart=always\nRestartSec=1ms\nExecStart=/usr/bin/helper append=/tmp/runs:x need=/tmp/cause stay\n")
	_ = b.Do(t.Context(), "start", "a.service") // it may fail at once or a little later
	eventually(t, "failed for good", func() bool {
		st, err := b.State(t.Context(), "a.service")
		return err == nil && st.Active == "failed"
	})
	if got := strings.Count(content(t, b.Host, "/tmp/runs"), "x"); got != 3 {
		t.Errorf("started %d times", got)
	}
	put(t, b.Host, File{Path: "/tmp/cause", Mode: 0o644})
	b.do(t, "start", "a.service")
	b.is(t, "a.service", "active", "running")
}

func templateUnit(t *testing.T, b bench) {
	b.install(t, "t@.service", "[Service]\nType=oneshot\nExecStart=/usr/bin/helper append=/tmp/%i:%n\n")
	b.do(t, "start", "t@events.service")
	if got := content(t, b.Host, "/tmp/events"); got != "t@events.service" {
		t.Errorf("got %q", got)
	}
}

func deafUnit(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nType=notify\nTimeoutStopSec=200ms\nExecStart=/usr/bin/helper ready deaf\n")
	b.do(t, "start", "a.service")
	b.do(t, "stop", "a.service")
	b.is(t, "a.service", "inactive", "dead")
}

func stoppedTwice(t *testing.T, b bench) {
	b.install(t, "a.service", "[Service]\nExecStart=/usr/bin/helper stay\n")
	b.do(t, "stop", "a.service")
	b.do(t, "start", "a.service")
	b.do(t, "stop", "a.service")
	b.do(t, "stop", "a.service")
}

func badVerb(t *testing.T, b bench) {
	if err := b.Do(t.Context(), "explode", "a.service"); err == nil {
		t.Error("no error")
	} else if job, ok := errors.AsType[*JobError](err); ok {
		t.Errorf("a job was run: %v", job)
	}
}
