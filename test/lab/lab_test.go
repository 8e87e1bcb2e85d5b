package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rekindle/agent/status"
)

// TestLab boots the smallest cluster there is, with all checks, and takes its only master away.
func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and boots a cluster")
	}
	f := flags{dir: filepath.Join(t.TempDir(), "demo"), region: "us-gov-west-1", masters: 1, minions: 1, timeout: 4 * time.Minute, // the race detector's time
		scenes: []string{"one"}, binary: os.Getenv("REKINDLE_BINARY")}
	if err := run(t.Context(), f); err != nil {
		t.Error(err)
	}
}

func TestClearSparesForeignDirectories(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "thesis.tex")
	if err := os.WriteFile(mine, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := clear(dir); err == nil {
		t.Error("a directory of somebody else is emptied")
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{1234567: "1ms", 1234567890: "1.23s"} {
		if got := duration(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}

func TestScenesThatFit(t *testing.T) {
	for _, c := range []struct {
		asked   []string
		masters int
		want    []string
		fails   string
	}{
		{asked: nil, masters: 1},
		{asked: []string{"none"}, masters: 1},
		{asked: []string{"all"}, masters: 1, want: []string{"one", "three"}},
		{asked: []string{"all"}, masters: 3, want: []string{"three"}},
		{asked: []string{"all"}, masters: 5},
		{asked: []string{"all"}, masters: 0},
		{asked: []string{"three", "one"}, masters: 1, fails: "in this order"},
		{asked: []string{"one"}, masters: 3, fails: "begins with 1 to 1 masters"},
		{asked: []string{"three"}, masters: 0, fails: "begins with 1 to 3 masters"},
		{asked: []string{"two"}, masters: 1, fails: "there are one, three, all and none"},
		{asked: []string{"one", "none"}, masters: 1, fails: "there are"},
	} {
		chosen, err := choose(c.asked, c.masters)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%q with %d masters: error %v, want %q", c.asked, c.masters, err, c.fails)
			}
			continue
		}
		var names []string
		for _, s := range chosen {
			names = append(names, s.name)
		}
		if err != nil || !slices.Equal(names, c.want) {
			t.Errorf("%q with %d masters: %q, %v; want %q", c.asked, c.masters, names, err, c.want)
		}
	}
}

func TestDefaultScenes(t *testing.T) {
	for args, want := range map[string]int{"": 1, "--config x": 0, "--assets x": 0, "--config x --scenes all": 1, "--scenes none": 1} {
		f, err := parse(strings.Fields(args))
		if err != nil || len(f.scenes) != want {
			t.Errorf("%q: %q, %v", args, f.scenes, err)
		}
	}
}

// What a node waits for in etcd's matters goes before everything else that it waits for.
func TestTellingWait(t *testing.T) {
	pull := status.Pending{Name: "assets: fetch", For: "7 objects"}
	prepare := status.Pending{Name: "etcd main: prepare", For: "what member a is to do"}
	quorum := status.Pending{Name: "etcd main", For: "no quorum answers"}
	restore := status.Pending{Name: "etcd main: restore", For: "a backup", Last: "12 MiB of 30 MiB\nand more"}
	for _, c := range []struct {
		state status.State
		waits []status.Pending
		want  string
	}{
		{status.StateReady, []status.Pending{pull}, "is ready"},
		{status.StateBooting, nil, "booting"},
		{status.StateBooting, []status.Pending{pull}, "waits: assets: fetch, 7 objects"},
		{status.StateBooting, []status.Pending{prepare, pull}, "waits: etcd main: prepare, what member a is to do"},
		{status.StateBooting, []status.Pending{quorum, prepare}, "waits: etcd main, no quorum answers"},
		{status.StateBooting, []status.Pending{prepare, restore, pull, quorum}, "waits: etcd main: restore, 12 MiB of 30 MiB"},
	} {
		if _, got := waits(&status.Status{State: c.state, Waits: c.waits}); got != c.want {
			t.Errorf("%+v: %q, want %q", c.waits, got, c.want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
