package datadir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// program is a script that Inspect runs instead of the agent.
func program(t *testing.T, script string) (dir string, o Options) {
	t.Helper()
	dir = plain(t, "a")
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, Options{Exe: path, Deadline: 20 * time.Second}
}

func TestHowTheProcessEnds(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		state  State
		part   string // of the reason, or of the error
	}{
		"sound":              {`echo reading; echo '{"state":"sound"}'`, Sound, ""},
		"busy by then":       {`echo reading; echo '{"state":"busy"}'`, Busy, ""},
		"torn":               {`echo reading; echo '{"state":"torn","why":"page 7"}'`, Torn, "page 7"},
		"error":              {`echo reading; echo '{"error":"no permission"}'`, "", "no permission"},
		"segmentation fault": {`echo reading; kill -SEGV $$`, Torn, "segmentation fault"},
		"bus error":          {`echo reading; kill -BUS $$`, Torn, "bus error"},
		"panic":              {`echo reading; echo 'panic: index out of range' >&2; exit 2`, Torn, "index out of range"},
		"stack overflow":     {`echo reading; printf 'runtime: x\nfatal error: stack overflow\n' >&2; exit 2`, Torn, "stack overflow"},
		"out of memory":      {`echo reading; echo 'fatal error: runtime: out of memory' >&2; exit 2`, "", "out of memory"},
		"killed":             {`echo reading; kill -KILL $$`, "", "killed"},
		"terminated":         {`echo reading; kill -TERM $$`, "", "terminated"},
		"panic too early":    {`echo 'panic: no such verb' >&2; exit 2`, "", "no such verb"},
		"fault too early":    {`kill -SEGV $$`, "", "segmentation fault"},
		"says nothing":       {`exit 0`, "", "reported"},
		"says nonsense":      {`echo reading; echo '{"state":"fine"}'`, "", "fine"},
		"says something new": {`echo reading; echo '{"state":"sound","x":1}'`, "", "x"},
		"fails":              {`echo reading; echo 'no space left' >&2; exit 1`, "", "no space left"},
		"talks without end":  {`while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxx; done & sleep 0.3; kill $!`, "", "reported"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, o := program(t, c.script)
			found, err := Inspect(t.Context(), dir, o)
			if c.state == "" {
				if err == nil || !has(err.Error(), c.part) {
					t.Errorf("found %+v, error %v; want one with %q", found, err, c.part)
				}
				return
			}
			if err != nil || found.State != c.state || !has(found.Why, c.part) {
				t.Errorf("found %+v, error %v; want %s because %q", found, err, c.state, c.part)
			}
		})
	}
}

func TestWithoutTheProgramNothingIsTorn(t *testing.T) {
	dir := plain(t, "a")
	if found, err := Inspect(t.Context(), dir, Options{Exe: "/nowhere/rekindle"}); err == nil {
		t.Errorf("found %+v", found)
	}
}

// A process that hangs is killed at the deadline, with its children; and so it is when the caller gives up.
func TestAProcessThatHangsIsKilled(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, giveUp := range map[string]bool{"deadline": false, "cancelled": true} {
		t.Run(name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pids")
			dir, o := program(t, `echo reading; sleep 1000 & echo $! $$ > `+pids+`.new; mv `+pids+`.new `+pids+`; wait`)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			want := errDeadline
			if giveUp {
				want = errors.New("the agent stops")
				go func() {
					for !there(pids) {
						time.Sleep(10 * time.Millisecond)
					}
					cancel(want)
				}()
			} else {
				o.Deadline = 3 * time.Second
			}
			_, err := Inspect(ctx, dir, o)
			if !errors.Is(err, want) {
				t.Fatalf("error %v, want %v", err, want)
			}
			for _, pid := range strings.Fields(string(read(t, pids))) {
				gone(t, pid)
			}
		})
	}
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// gone waits until a process is gone, or dead and not yet collected.
func gone(t *testing.T, pid string) {
	t.Helper()
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || has(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %s lives", pid)
}

func TestWhoseFaultAnErrorIs(t *testing.T) {
	for _, number := range []syscall.Errno{syscall.EIO, syscall.EACCES, syscall.EPERM, syscall.ENOMEM, syscall.EMFILE, syscall.ENOSPC, syscall.ESTALE} {
		var found torn
		if err := blame("x", &os.PathError{Op: "read", Path: "y", Err: number}); errors.As(err, &found) || !errors.Is(err, number) {
			t.Errorf("%v became %v", number, err)
		}
	}
	for _, err := range []error{errors.New("page 7"), tornf("page 7"), syscall.ENOENT, syscall.EISDIR, os.ErrNotExist, errIrregular} {
		var found torn
		if got := blame("x", err); !errors.As(got, &found) {
			t.Errorf("%v is not the data's fault: %v", err, got)
		}
	}
	if err := blame("x", newer("it is 3.7")); !has(err.Error(), "install a newer agent") || errors.As(err, new(torn)) {
		t.Errorf("newer became %v", err)
	}
}

// What the agent may not read is not torn. Root may read everything, so the process that reads becomes another user.
func TestDataThatMayNotBeReadIsNotTorn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, _ := fixture(t)
	t.Setenv("DATADIR_TEST_UID", "65534")
	found, err := Inspect(t.Context(), dir, Options{})
	if err == nil || !has(err.Error(), "let the agent read it") {
		t.Errorf("found %+v, error %v", found, err)
	}
}
