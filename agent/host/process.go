package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a program that runs, possibly since before this agent did.
type process struct {
	pid   int
	ticks uint64 // when it started, in clock ticks since the machine booted: tells it from a later one with its number
	fd    *os.File
	alone bool // what it leaves running is not killed with it (KillMode=process)

	done chan struct{} // closed when it ended, and exit is known
	exit exit
}

// exit is how a process ended.
type exit struct {
	code    int
	signal  syscall.Signal
	unknown bool // an earlier agent had started it, and only a parent is told
}

func (e exit) String() string {
	switch {
	case e.unknown:
		return "ended, with a status that only the agent that started it would have been told"
	case e.signal != 0:
		return "killed by " + unix.SignalName(e.signal)
	}
	return "exit status " + strconv.Itoa(e.code)
}

// launch is what a process is started with. All paths are real.
type launch struct {
	program string
	argv    []string
	env     []string
	dir     string
	out     *os.File
	alone   bool
}

// spawn starts a process in a session of its own, so that it outlives the agent.
func (r *Processes) spawn(l launch) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	fd := -1
	child, err := os.StartProcess(l.program, l.argv, &os.ProcAttr{
		Dir:   l.dir,
		Env:   l.env,
		Files: []*os.File{null, l.out, l.out},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &fd},
	})
	if err != nil {
		return nil, err
	}
	p := &process{pid: child.Pid, alone: l.alone, done: make(chan struct{})}
	_ = child.Release() // it is watched through its descriptor from here on
	if p.ticks, err = startTicks(p.pid); err != nil {
		p.ticks = 0 // it ended already and somebody reaped it
	}
	if fd < 0 {
		return nil, errors.New("the kernel has no process descriptors (Linux 5.4 is needed)")
	}
	return p, r.watch(p, fd)
}

// adopt takes over a process that an earlier agent started; nil when it is gone.
func (r *Processes) adopt(pid int, ticks uint64) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	if now, err := startTicks(pid); err != nil || now != ticks {
		unix.Close(fd)
		return nil, nil
	}
	p := &process{pid: pid, ticks: ticks, alone: true, done: make(chan struct{})} // its number may be another's once it ended
	return p, r.watch(p, fd)
}

// watch waits for the end of a process in the background, until the runner is closed.
func (r *Processes) watch(p *process, fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil { // for the runtime's poller
		unix.Close(fd)
		return err
	}
	p.fd = os.NewFile(uintptr(fd), "process "+strconv.Itoa(p.pid))
	r.running.Go(func() {
		defer p.fd.Close()
		ended := r.awaitEnd(p.fd)
		if !ended {
			return
		}
		if !p.alone { // before it is reaped, so that its number is still its own
			_ = unix.Kill(-p.pid, unix.SIGKILL)
		}
		p.exit = reap(p.pid)
		close(p.done)
	})
	return nil
}

// awaitEnd blocks until the descriptor says that its process ended; false when the runner was closed first.
func (r *Processes) awaitEnd(fd *os.File) bool {
	stop := context.AfterFunc(r.ctx, func() { _ = fd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := fd.SyscallConn()
	if err != nil {
		return false
	}
	err = conn.Read(func(n uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(n), Events: unix.POLLIN}}
		count, err := unix.Poll(ready, 0)
		return count > 0 && err == nil
	})
	return err == nil
}

// reap asks how a process ended, and lets the kernel forget it.
func reap(pid int) exit {
	var status unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || got != pid:
			return exit{unknown: true}
		case status.Signaled():
			return exit{signal: status.Signal()}
		}
		return exit{code: status.ExitStatus()}
	}
}

// signal sends a signal to the process, or to all of its group.
func (p *process) signal(s syscall.Signal, group bool) {
	select {
	case <-p.done:
		return
	default:
	}
	if group {
		_ = unix.Kill(-p.pid, s)
		return
	}
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), s, nil, 0) })
}

// wait waits for the end of the process; false when ctx ended first.
func (p *process) wait(ctx context.Context) bool {
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// startTicks is field 22 of proc_pid_stat(5), counted from the last parenthesis: the name before it may hold anything.
func startTicks(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields after the name", pid, len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
