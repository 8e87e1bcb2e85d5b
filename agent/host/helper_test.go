package host

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also the program that the tests' units run: this binary, linked into the root as /usr/bin/helper.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "helper" {
		os.Exit(helper(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// helper does what its arguments say, one after the other.
func helper(args []string) int {
	for _, arg := range args {
		verb, value, _ := strings.Cut(arg, "=")
		switch verb {
		case "print":
			fmt.Println(value)
		case "pid": // its number, into a file
			must(os.WriteFile(value, []byte(strconv.Itoa(os.Getpid())), 0o644))
		case "append":
			file, text, _ := strings.Cut(value, ":")
			f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
			must(err)
			fmt.Fprintln(f, text)
			must(f.Close())
		case "env":
			file, name, _ := strings.Cut(value, ":")
			must(os.WriteFile(file, []byte(os.Getenv(name)), 0o644))
		case "need":
			if _, err := os.Stat(value); err != nil {
				fmt.Println("need", err)
				return 4
			}
		case "pause":
			d, err := time.ParseDuration(value)
			must(err)
			time.Sleep(d)
		case "ready":
			conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
			must(err)
			_, err = conn.Write([]byte("STATUS=up\nREADY=1"))
			must(err)
		case "hold": // what there is only one of, as a port is
			var err error
			held, err = net.Listen("unix", "@"+value)
			must(err)
		case "fork":
			must((&exec.Cmd{Path: "/proc/self/exe", Args: []string{"helper", "pid=" + value, "stay"}}).Start())
		case "orphan": // kills the runner that has started it
			must(syscall.Kill(os.Getppid(), syscall.SIGKILL))
		case "strand":
			strand(value)
		case "hup":
			pid, err := strconv.Atoi(value)
			must(err)
			must(syscall.Kill(pid, syscall.SIGHUP))
		case "exit":
			code, err := strconv.Atoi(value)
			must(err)
			return code
		case "stay", "deaf": // until told to end
			c := make(chan os.Signal, 1)
			signal.Notify(c, syscall.SIGTERM, syscall.SIGHUP)
			for s := range c {
				if s == syscall.SIGTERM && verb == "stay" {
					return 0
				}
				if s == syscall.SIGHUP && value != "" {
					must(os.WriteFile(value, []byte("hup"), 0o644))
				}
			}
		}
	}
	return 0
}

// held is open until the helper ends.
var held net.Listener

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
}

// quick keeps the helper's race detector from sleeping for a second before it exits.
var quick = map[string]string{"GORACE": "atexit_sleep_ms=0"}

// machine is an empty root with the helper in it.
func machine(t *testing.T) *Host {
	t.Helper()
	h := New(t.TempDir())
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/usr/bin", "/tmp", "/run"} {
		check(t, h.MkdirAll(dir))
	}
	self, err := os.Executable()
	check(t, err)
	if os.Link(self, filepath.Join(h.root, "/usr/bin/helper")) != nil { // another file system
		put(t, h, File{Path: "/usr/bin/helper", Mode: 0o755, From: self, Later: true})
	}
	return h
}

func put(t *testing.T, h *Host, files ...File) {
	t.Helper()
	for _, f := range files {
		check(t, h.MkdirAll(parent(f.Path)))
	}
	_, err := h.Write(t.Context(), files...)
	check(t, err)
}

// install puts a unit file into the machine.
func install(t *testing.T, h *Host, name, text string) {
	t.Helper()
	put(t, h, File{Path: "/etc/systemd/system/" + name, Mode: 0o644, Content: []byte(text)})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, h *Host, p string) string {
	t.Helper()
	data, err := h.Read(p)
	check(t, err)
	return strings.TrimSpace(string(data))
}

// eventually polls, for what happens in another process.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
