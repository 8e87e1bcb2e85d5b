package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLab boots the smallest cluster there is, with all checks.
func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and boots a cluster")
	}
	f := flags{dir: filepath.Join(t.TempDir(), "demo"), region: "us-gov-west-1", masters: 1, minions: 1, timeout: 3 * time.Minute, // the race detector's time
		binary: os.Getenv("REKINDLE_BINARY")}
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
