package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The benchmark starts itself again, and in a test that is the test's binary.
func TestMain(m *testing.M) {
	if os.Getenv("BENCH_BACKUP_PART") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The benchmark runs from end to end and prints what it promises.
func TestBench(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "bench")
	out := output(t, func() error {
		return run(ctx, []string{"--size", "10", "--runs", "1", "--quiet", "300ms", "--rate", "50", "--follow", "1s", "--deltas-rate", "50", "--dir", dir})
	})
	for _, name := range []string{
		"backup_seconds", "backup_snapshot_seconds", "backup_db_mib", "backup_bytes_uploaded", "backup_peak_rss_mb",
		"backup_writer_p99_ms", "backup_writer_p99_quiet_ms", "backup_writer_p99_ratio", "delta_age_p50_seconds",
		"delta_age_p99_seconds", "delta_writes_per_second",
	} {
		var value float64
		var unit string
		_, rest, found := strings.Cut("\n"+out, "\n"+name+" ")
		if _, err := fmt.Sscan(rest, &value, &unit); !found || err != nil || value <= 0 {
			t.Errorf("no %s in:\n%s", name, out)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s was left behind: %v", dir, err)
	}
}

func TestAges(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	all := []write{{done: at(100), revision: 5}, {done: at(300), revision: 6}, {done: at(400), revision: 7}}
	got := ages(all, []delivery{{4, at(200)}, {6, at(500)}, {9, at(900)}})
	if want := "[400ms 200ms 500ms]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if p := percentile(got, 50); p != 400*time.Millisecond {
		t.Errorf("median %s", p)
	}
}

func output(t *testing.T, run func() error) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	done := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, r) // what is missing is noticed
		done <- b.String()
	}()
	err = run()
	w.Close()
	out := <-done
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}
