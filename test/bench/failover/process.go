package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// process is this program again, as a master or a proxy.
type process struct {
	address netip.AddrPort // where it listens
	command *exec.Cmd
	in      io.WriteCloser
}

// startProcess starts one and waits until it listens. Without a namespace it has that of this process.
func startProcess(ctx context.Context, space *namespace, o order) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := []string{self, "serve"}
	if space != nil {
		command = append([]string{"ip", "netns", "exec", space.name}, command...)
	}
	p := &process{command: exec.CommandContext(ctx, command[0], command[1:]...)}
	p.command.Stderr = os.Stderr
	if p.in, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	var s serving
	err = errors.Join(json.NewEncoder(p.in).Encode(o), json.NewDecoder(out).Decode(&s))
	if err == nil {
		p.address, err = netip.ParseAddrPort(s.Address)
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// kill ends it. A nil process has ended.
func (p *process) kill() {
	if p != nil {
		_ = p.command.Process.Kill() // it may have ended
		_ = p.command.Wait()         // and nobody asks what with
	}
}

// cpu is how much processor time a process used so far, with what the kernel did for it. What arrives over loopback or a
// veth pair is mostly received in the sender's time.
func cpu(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED; clock_getcpuclockid(3) makes the clock's number like this
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("processor time of %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
