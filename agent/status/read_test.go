package status

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadLiveAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	b := NewBoard(path, "v1", nil)
	b.Ready()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := Wait(ctx, path)
	if err != nil || s.Stale != nil || s.ExitCode() != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Read(path)
	if err != nil || s.Stale == nil || s.Stale.Reason != ReasonAgentStopped || s.ExitCode() != 3 ||
		!strings.HasPrefix(s.Stale.Message, "the agent is not running since ") {
		t.Fatalf("after Close: %+v, %v", s, err)
	}
}

func TestReadDeadAgent(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ticks, err := startTicks(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	a := Agent{PID: child.Process.Pid, StartTicks: ticks, Heartbeat: time.Now()}
	if !a.running() {
		t.Error("a running process is said to be dead")
	}
	if other := (Agent{PID: a.PID, StartTicks: ticks + 1}); other.running() {
		t.Error("a reused PID is taken for the agent")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for a.running() && time.Now().Before(deadline) { // until the kernel made it a zombie, which counts as dead
		time.Sleep(time.Millisecond)
	}
	if a.running() {
		t.Error("a zombie is said to run")
	}
	_ = child.Wait()
	if a.running() || (Agent{}).running() {
		t.Error("a process that is gone is said to run")
	}
}

func TestStaleness(t *testing.T) {
	now := bootStart.Add(time.Hour)
	for _, tc := range []struct {
		name    string
		agent   Agent
		running bool
		want    Reason
		since   time.Time
	}{
		{"alive", Agent{Heartbeat: now.Add(-HeartbeatInterval)}, true, "", time.Time{}},
		{"stopped", Agent{Heartbeat: now, Stopped: now}, false, ReasonAgentStopped, now},
		{"stopped, PID reused", Agent{Heartbeat: now, Stopped: now}, true, ReasonAgentStopped, now},
		{"was to end", Agent{Heartbeat: now, Stopped: now, Once: true}, false, "", time.Time{}},
		{"crashed before its end", Agent{Heartbeat: now, Once: true}, false, ReasonAgentStopped, now},
		{"killed", Agent{Heartbeat: now}, false, ReasonAgentStopped, now},
		{"hung", Agent{Heartbeat: bootStart}, true, ReasonAgentSilent, bootStart},
		{"the clock went back", Agent{Heartbeat: now.Add(time.Hour)}, true, "", time.Time{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := staleness(tc.agent, tc.running, now)
			if got == nil {
				got = &Stale{}
			}
			if got.Reason != tc.want || !got.Since.Equal(tc.since) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	for _, tc := range []struct {
		state State
		stale bool
		want  int
	}{
		{StateReady, false, 0}, {StateFailed, false, 1}, {StateBooting, false, 3}, {StateDegraded, false, 3},
		{StateReady, true, 3}, {StateFailed, true, 1}, {StateBooting, true, 3}, {"", false, 3},
	} {
		s := &Status{State: tc.state}
		if tc.stale {
			s.Stale = &Stale{}
		}
		if got := s.ExitCode(); got != tc.want {
			t.Errorf("%s, stale %t: got %d, want %d", tc.state, tc.stale, got, tc.want)
		}
	}
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "has not run") {
		t.Errorf("no file: %v", err)
	}
	for name, content := range map[string]string{"torn": `{"version":1,"sta`, "newer": `{"version":99}`, "other": `{}`} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := Wait(t.Context(), path); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: Wait waits for a file that will not get better: %v", name, err)
		}
	}
}

func TestWait(t *testing.T) {
	for name, tc := range map[string]struct {
		then func(*Board)
		code int
		err  string // "" is none
	}{
		"ready":    {func(b *Board) { b.Ready() }, 0, ""},
		"failed":   {func(b *Board) { b.Fail(errors.New("x")) }, 1, ""},
		"degraded": {func(b *Board) { b.Degrade(errors.New("one unit is down")) }, 3, "still degraded: one unit is down"},
		"waiting": {func(b *Board) { b.Begin(t.Context(), "tags: role", "the tag rekindle:role") }, 3,
			"still booting, waiting for tags: role: the tag rekindle:role"},
		"booting": {func(*Board) {}, 3, "still booting"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.json")
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				board := make(chan *Board)
				go func() { // the file comes late, then the state
					time.Sleep(3 * time.Second)
					b := NewBoard(path, "v1", nil)
					// In the bubble's clock it is the year 2000; the PID and its start are the real ones.
					time.Sleep(3 * time.Second)
					tc.then(b)
					board <- b
				}()
				done := make(chan struct{})
				var s *Status
				var err error
				go func() { defer close(done); s, err = Wait(ctx, path) }()
				b := <-board
				<-done
				defer b.Close()
				if s == nil || s.ExitCode() != tc.code {
					t.Fatalf("got %+v, %v", s, err)
				}
				if tc.err == "" {
					if err != nil || time.Since(began) > 7*time.Second {
						t.Errorf("after %v: %v", time.Since(began), err)
					}
					return
				}
				if !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), tc.err) || time.Since(began) != time.Minute {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		})
	}
}

func TestWaitHasALimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s, err := Wait(context.Background(), path)
		if s != nil || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fs.ErrNotExist) || time.Since(began) != WaitLimit {
			t.Errorf("after %v: %v, %v", time.Since(began), s, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"state":"ready","waits":[{"name":"a\u001b[2J"}],"units":null,"apply":{"at":"2026-03-14T09:26:53Z"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		text := s.text(false, bootStart)
		if strings.ContainsRune(string(text), '\x1b') {
			t.Errorf("an escape sequence reached the terminal: %q", text)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add("812 (re) kin (dle) S 1 812 812 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 5 0 4242 0 0")
	f.Fuzz(func(t *testing.T, stat string) { _, _ = parseStat(stat) })
}

func TestParseStat(t *testing.T) {
	got, err := parseStat("812 (re) kin (dle) S 1 812 812 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 5 0 4242 0 0")
	if err != nil || got != 4242 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := parseStat("812 (rekindle) Z 1 812 812 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 5 0 4242 0 0"); !errors.Is(err, errZombie) {
		t.Errorf("got %v", err)
	}
}
