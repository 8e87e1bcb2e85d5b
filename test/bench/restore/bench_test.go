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
	if os.Getenv("BENCH_RESTORE_PART") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The benchmark runs from end to end, finds what rekindle and etcdutl made equal, and prints what it promises; what it made is
// there the second time.
func TestBench(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cache := t.TempDir()
	for range 2 {
		out := output(t, func() error { return run(ctx, []string{"--size", "24", "--runs", "1", "--cache", cache}) })
		for _, name := range []string{"restore_seconds", "restore_etcdutl_seconds", "restore_download_seconds",
			"restore_ratio_vs_etcdutl", "restore_peak_rss_mb", "restore_db_mib", "restore_keys"} {
			var value float64
			var unit string
			_, rest, found := strings.Cut("\n"+out, "\n"+name+" ")
			if _, err := fmt.Sscan(rest, &value, &unit); !found || err != nil || value <= 0 {
				t.Errorf("no %s in:\n%s", name, out)
			}
		}
		if !strings.Contains(out, "restore_keys 12289.00 keys") { // 24 MiB of 2 KiB each, and the bump's
			t.Errorf("not all keys:\n%s", out)
		}
	}
	left, err := filepath.Glob(filepath.Join(cache, "24", "work", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
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
