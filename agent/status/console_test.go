package status

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

func readyStatus() *Status {
	return &Status{State: StateReady, Reason: ReasonReady, Identity: masterID, Boot: Boot{Started: bootStart, Seconds: 4.207}}
}

func TestConsoleReady(t *testing.T) {
	want := "rekindle: READY master i-0abc12de34f567890 (prod, cn-north-1a) in 4.21 s: imds 27 ms, config 27 ms, " +
		"store manifest 36 ms, assets 2.56 s (1.0 GiB), etcd main 2.92 s (212 MiB), files 41 ms, units 1.14 s"
	if got := ConsoleReady(readyStatus(), masterBoot()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := ConsoleReady(&Status{}, nil); got != "rekindle: READY node in 0 ms" {
		t.Errorf("with nothing known: %s", got)
	}
	// Too many steps: the shortest go first.
	tl := masterBoot()
	for i := range 60 {
		tl.Root.Steps = append(tl.Root.Steps, span("tiny", 4000, 4000+float64(i)/10))
	}
	got := ConsoleReady(readyStatus(), tl)
	if len(got) >= consoleLimit || !strings.Contains(got, "units 1.14 s") || strings.Contains(got, "tiny 0.1 ms") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestConsoleFailed(t *testing.T) {
	s := &Status{
		State: StateFailed, Reason: ReasonAssetCorrupt, Message: "object bin/kubelet:\n chunk 3:\x1b[2J sha256 mismatch",
		Hint: "publish again",
	}
	want := "rekindle: FAILED AssetCorrupt after 41.2 s: object bin/kubelet: chunk 3:[2J sha256 mismatch. What to do: publish again"
	if got := ConsoleFailed(s, 41_200*time.Millisecond); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.Message, s.Hint = "begin "+strings.Repeat("ü", 3000)+" end", strings.Repeat("do this ", 20)
	got := ConsoleFailed(s, 41_200*time.Millisecond)
	if len(got) >= consoleLimit || !utf8.ValidString(got) || !strings.Contains(got, ": begin ü") ||
		!strings.HasSuffix(got, "ü end. What to do: "+strings.TrimSpace(s.Hint)) {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	s.Message, s.Hint = "", ""
	if got := ConsoleFailed(s, 41_200*time.Millisecond); !strings.HasSuffix(got, "after 41.2 s") {
		t.Errorf("with nothing known: %q", got)
	}
}

func TestConsole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	if err := os.WriteFile(path, []byte("login: "), 0o600); err != nil {
		t.Fatal(err)
	}
	var also bytes.Buffer
	line := ConsoleReady(readyStatus(), nil) + "\n"
	if _, err := io.WriteString(Console{Path: path, Also: &also}, line); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != "login: "+line || also.String() != line {
		t.Errorf("console %q, also %q", data, also.String())
	}
	if _, err := io.WriteString(Console{Path: filepath.Join(t.TempDir(), "none")}, "x\n"); err != nil {
		t.Errorf("a machine without a console: %v", err)
	}
	if _, err := io.WriteString(Console{Path: t.TempDir()}, "x\n"); err == nil {
		t.Error("a directory was taken for a console")
	}
}

// A console whose other end does not read must not hold the boot up.
func TestConsoleThatNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(Console{Path: path}, "x\n"); err != nil {
		t.Errorf("nobody at the other end: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe did not fill: %v", err)
	}
	began := time.Now()
	_, err = io.WriteString(Console{Path: path}, "x\n")
	if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took > 5*consoleTimeout {
		t.Errorf("after %v: %v", took, err)
	}
}
