package main

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// congestion is what Linux controls congestion with by default, and so what nodes have. Who accepts a connection has it of
// its listener. On a machine that is set to bbr, bulk data on loopback would be paced by timers: those would be measured.
const congestion = "cubic"

// setCongestion leaves a kernel alone that does not know it, or does not allow it to who is not root
// (net.ipv4.tcp_allowed_congestion_control).
func setCongestion(c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion)
	})
	if errors.Is(failed, unix.ENOENT) || errors.Is(failed, unix.EPERM) {
		failed = nil
	}
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("congestion control %s: %w", congestion, err)
	}
	return nil
}
