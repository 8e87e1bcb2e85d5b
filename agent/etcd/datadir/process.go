package datadir

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	verb = "etcd-offline"

	deadline      = 2 * time.Minute
	bytesASecond  = 32 << 20         // a quarter of what the smallest gp3 volume reads
	afterDeadline = 10 * time.Second // for a killed process to be gone

	maxOutput = 64 << 10
	maxNoise  = 8 << 10
)

var errDeadline = errors.New("its deadline has passed")

// run runs a job in a process of its own and returns what it reports.
func (o Options) run(ctx context.Context, job, dir string) (report, error) {
	limit, err := o.limit(dir)
	if err != nil {
		return report{}, err
	}
	exe := o.Exe
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			return report{}, err
		}
	}
	timed, cancel := context.WithTimeoutCause(ctx, limit, errDeadline)
	defer cancel()
	p := &process{out: head{limit: maxOutput}, noise: head{limit: maxNoise}}
	ended := p.start(timed, exe, verb, job, dir)
	select {
	case err = <-ended:
	case <-timed.Done():
		select {
		case err = <-ended:
		case <-time.After(afterDeadline):
			return report{}, fmt.Errorf("%s: %w after %v, and the process cannot be killed: its disk does not answer; see dmesg",
				job, context.Cause(timed), limit)
		}
	}
	if cause := context.Cause(timed); err != nil && cause != nil {
		if errors.Is(cause, errDeadline) {
			return report{}, fmt.Errorf("%s: %w after %v: the disk may be slow or failing; see dmesg, and try again", job, cause, limit)
		}
		return report{}, fmt.Errorf("%s: %w", job, cause)
	}
	seen, err := p.verdict(job, err)
	if err != nil {
		return report{}, fmt.Errorf("%s: %w", job, err)
	}
	return seen, nil
}

func (o Options) limit(dir string) (time.Duration, error) {
	if o.Deadline > 0 {
		return o.Deadline, nil
	}
	bytes, _, err := weigh(Data(dir))
	if errors.Is(err, syscall.ENOTDIR) {
		err = nil
	}
	return deadline + time.Duration(bytes/bytesASecond)*time.Second, err
}

// process is one run of a job.
type process struct{ out, noise head }

// start runs a program in a process group of its own, of which nothing is left when ctx has ended, nor when this program
// has died.
func (p *process) start(ctx context.Context, exe string, args ...string) <-chan error {
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = &p.out, &p.noise
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = afterDeadline / 2
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the kernel takes the end of the thread that started it for the end of this program
		defer runtime.UnlockOSThread()
		ended <- cmd.Run()
	}()
	return ended
}

// environment is this program's, without what etcd's libraries would listen to. A crash prints its reason alone.
func environment() []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "ETCD") && !strings.HasPrefix(pair, "GOTRACEBACK=") {
			env = append(env, pair)
		}
	}
	return append(env, "GOTRACEBACK=none")
}

// verdict is what came of a process that has ended. One that crashed while it was reading says that the data is torn;
// one that could not run, that was killed, that lacked memory, or that crashed on a copy says nothing.
func (p *process) verdict(job string, ended error) (report, error) {
	lines, reading := bytes.CutPrefix(p.out.data, []byte(readingLine))
	if ended == nil {
		return decode(lines)
	}
	var exit *exec.ExitError
	if reading && job == JobCheck && errors.As(ended, &exit) {
		if why := crash(exit.ProcessState, string(p.noise.data)); why != "" {
			return report{State: Torn, Why: "reading it crashes: " + why}, nil
		}
	}
	if noise := strings.TrimSpace(string(p.noise.data)); noise != "" {
		return report{}, fmt.Errorf("%w: %.500s", ended, noise)
	}
	return report{}, ended
}

func decode(line []byte) (report, error) {
	var seen report
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&seen)
	switch {
	case err != nil:
		return report{}, fmt.Errorf("the process reported %.100q: %w", line, err)
	case seen.Error != "":
		return report{}, errors.New(seen.Error)
	}
	switch seen.State {
	case Sound, Torn, Busy:
		return seen, nil
	}
	return report{}, fmt.Errorf("the process reported state %.40q", seen.State)
}

// crash is why a process died, if that was for what it read; else empty.
func crash(state *os.ProcessState, noise string) string {
	for _, cause := range []string{"out of memory", "cannot allocate memory", "failed to create new OS thread", "errno=11"} {
		if strings.Contains(noise, cause) {
			return ""
		}
	}
	for line := range strings.Lines(noise) {
		line = strings.TrimSpace(line)
		for _, start := range []string{"panic: ", "fatal error: ", "unexpected fault address ", "SIG"} {
			if strings.HasPrefix(line, start) {
				return fmt.Sprintf("%.300s", line)
			}
		}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return ""
	}
	switch signal := status.Signal(); signal {
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGABRT:
		return signal.String()
	}
	return ""
}

// head keeps the first bytes that are written to it.
type head struct {
	data  []byte
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.data = append(h.data, p[:min(len(p), h.limit-len(h.data))]...)
	return len(p), nil
}
