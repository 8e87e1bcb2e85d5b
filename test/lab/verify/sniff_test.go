package verify

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"rekindle/agent/host"
)

func TestTablesShowAConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	remotes := map[string]netip.AddrPort{}
	readTable("/proc/self/net/tcp", remotes)
	for _, inode := range socketsOf(os.Getpid()) {
		if remotes[inode].String() == l.Addr().String() {
			return
		}
	}
	t.Errorf("no socket of this process has the remote address %s", l.Addr())
}

func TestProcessesOfARoot(t *testing.T) {
	root := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	cmd.Env = []string{host.RootEnv + "=" + root}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for found := []int(nil); !slices.Equal(found, []int{cmd.Process.Pid}); found = processes()[root] {
		if ctx.Err() != nil {
			t.Fatalf("found %v, want %d", found, cmd.Process.Pid)
		}
		time.Sleep(time.Millisecond) // until its exec has given it its environment
	}
	if found := processes()[root+"x"]; len(found) > 0 {
		t.Errorf("another root has %v", found)
	}
}
