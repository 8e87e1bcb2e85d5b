package apiproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rekindle/agent/discovery"
)

// childBackend says in its environment that this process is the proxy, and to where.
const childBackend = "APIPROXY_BACKEND"

// child is the process of the agent: it takes the socket that its parent passes like systemd, and serves until it is
// killed.
func child(backend string) int {
	_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())) // systemd sets it between fork and exec
	listeners, err := Listeners(context.Background(), "api")
	if err == nil {
		p := New(Options{})
		p.SetBackends([]Backend{{Instance: "ma", Address: netip.MustParseAddrPort(backend), Health: discovery.Healthy}})
		err = p.Run(context.Background(), listeners...)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// While the agent restarts, the socket stays: whoever connects waits, and nobody is refused.
func TestRestartQueues(t *testing.T) {
	a := newMaster(t, "ma")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	at := listener.Addr().String()
	spawn := func() (kill func()) {
		process := exec.CommandContext(t.Context(), "/proc/self/exe")
		process.Env = append(os.Environ(), childBackend+"="+a.listener.Addr().String(), "LISTEN_FDS=1", "LISTEN_FDNAMES=api")
		process.ExtraFiles, process.Stderr = []*os.File{socket}, os.Stderr
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		return func() { _ = process.Process.Kill(); _ = process.Wait() }
	}

	var clients sync.WaitGroup
	var served, refused atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer clients.Wait()
	defer stop()
	client := func() error {
		conn, err := net.DialTimeout("tcp", at, limit)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(limit))
		if !says(conn, ".") { // the echo of the first byte comes before the name
			return errors.New("broken off")
		}
		served.Add(1)
		return nil
	}
	clients.Go(func() {
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			clients.Go(func() {
				// One that the killed process had taken is reset; that is not what this is about.
				if err := client(); errors.Is(err, syscall.ECONNREFUSED) {
					refused.Add(1)
				}
			})
			<-tick.C
		}
	})
	kill := spawn()
	for range 3 {
		before := served.Load()
		eventually(t, "clients are served", func() bool { return served.Load() > before+20 })
		kill()
		queued := make(chan error)
		for range 10 {
			go func() { queued <- client() }()
		}
		kill = spawn()
		for range 10 {
			if err := <-queued; err != nil {
				t.Error("while no proxy ran: ", err)
			}
		}
	}
	stop()
	clients.Wait()
	kill()
	if n := refused.Load(); n > 0 {
		t.Errorf("%d clients were refused", n)
	}
}

func TestListeners(t *testing.T) {
	if _, err := Listeners(t.Context(), "none"); err == nil {
		t.Error("neither a socket nor an address, and no error")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Listeners(t.Context(), "none", netip.MustParseAddrPort("127.0.0.1:0"), taken.Addr().(*net.TCPAddr).AddrPort())
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
}
