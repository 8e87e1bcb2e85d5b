package host

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func TestNotifyAndWatchdog(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	check(t, err)
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	read := func() string {
		buffer := make([]byte, 100)
		check(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		n, err := conn.Read(buffer)
		check(t, err)
		return string(buffer[:n])
	}
	check(t, Notify("STATUS=x\n"+Ready))
	if got := read(); got != "STATUS=x\nREADY=1" {
		t.Errorf("%q", got)
	}

	log := slog.New(slog.DiscardHandler)
	check(t, Watchdog(t.Context(), log, nil)) // no WatchdogSec
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, cancel := context.WithCancel(t.Context())
	var sick atomic.Bool
	asked := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() {
		done <- Watchdog(ctx, log, func() error {
			asked <- struct{}{}
			if sick.Load() {
				return errors.New("stuck")
			}
			return nil
		})
	}()
	for range 3 {
		if got := read(); got != "WATCHDOG=1" {
			t.Errorf("%q", got)
		}
	}
	sick.Store(true)
	for range 3 {
		<-asked
	}
	check(t, conn.SetReadDeadline(time.Now().Add(time.Millisecond))) // at most one was under way
	_, _ = conn.Read(make([]byte, 100))
	check(t, conn.SetReadDeadline(time.Now().Add(60*time.Millisecond)))
	if n, err := conn.Read(make([]byte, 100)); err == nil {
		t.Errorf("fed while unhealthy: %d bytes", n)
	}
	cancel()
	check(t, <-done)

	t.Setenv("NOTIFY_SOCKET", "")
	check(t, Notify("STATUS=nobody listens"))
}
