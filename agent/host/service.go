package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// service is one unit of the process runner.
type service struct {
	runner *Processes
	name   string
	turn   chan struct{} // one job at a time

	mu       sync.Mutex
	def      *definition // as it was started; nil if it never was
	active   string
	sub      string
	skipped  bool
	main     *process
	notify   *notifySocket
	began    time.Time
	begun    string      // its start, in the environment of its processes
	starts   []time.Time // within the interval of the start limit
	again    context.CancelFunc
	logStart int64
}

func (s *service) lock(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for an earlier job: %w", context.Cause(ctx))
	}
}

func (s *service) unlock() { <-s.turn }

func (s *service) set(active, sub string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active, s.sub = active, sub
}

func (s *service) started() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.began
}

// pardon forgets failures and calls off a restart that waits for its time.
func (s *service) pardon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts = nil
	if s.again != nil {
		s.again()
		s.again = nil
	}
}

// start starts the unit, unless it runs.
func (s *service) start(ctx context.Context, d *definition) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	return s.startLocked(ctx, d)
}

func (s *service) startLocked(ctx context.Context, d *definition) error {
	s.mu.Lock()
	up := s.active == "active"
	if !up {
		s.def, s.skipped = d, false
	}
	s.mu.Unlock()
	if up {
		return nil
	}
	hold, err := d.conditions(s.runner.host)
	if err != nil {
		return err
	}
	if !hold {
		s.mu.Lock()
		s.skipped, s.active, s.sub = true, "inactive", "dead"
		s.mu.Unlock()
		return nil
	}
	if !d.service {
		s.set("active", "active")
		return nil
	}
	s.mu.Lock()
	s.active, s.sub, s.began = "activating", "start", time.Now()
	s.mu.Unlock()
	err = s.run(ctx, d)
	if err == nil {
		return nil
	}
	s.forget()
	var job *JobError
	if !errors.As(err, &job) {
		job = &JobError{Unit: s.name, Verb: "start", Result: "failed", Status: err.Error()}
		err = job
	}
	if job.Words == "" {
		job.Words = s.lastWords()
	}
	if (d.restart == "always" || d.restart == "on-failure") && s.runner.ctx.Err() == nil {
		s.startLater(d) // the job failed all the same, as systemd has it
	} else {
		s.set("failed", "failed")
	}
	return err
}

// run goes through the commands of a start, each to its end but the main one's.
func (s *service) run(ctx context.Context, d *definition) (err error) {
	if d.startLimit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d.startLimit, errStartLimit)
		defer cancel()
	}
	l, env, err := s.prepare(d)
	if err != nil {
		return err
	}
	defer l.out.Close()
	start := newStart(s.name)
	env[startEnv] = start
	s.mu.Lock()
	s.begun = start
	s.mu.Unlock()
	if err := s.remember(phaseStarting); err != nil { // before there is a process: what dies in between is found
		return err
	}
	defer func() {
		if err != nil {
			s.kill(d)
			for _, c := range d.stopPost {
				stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(d.stopLimit, time.Second))
				_ = s.control(stopCtx, l, c, env)
				cancel()
			}
		}
	}()
	for _, c := range d.pre {
		if err := s.control(ctx, l, c, env); err != nil {
			return err
		}
	}
	if d.kind == "oneshot" {
		for _, c := range d.start {
			if err := s.control(ctx, l, c, env); err != nil {
				return err
			}
		}
	} else if err := s.begin(ctx, d, l, env); err != nil {
		return err
	}
	for _, c := range d.post {
		if err := s.control(ctx, l, c, env); err != nil {
			return err
		}
	}
	switch {
	case d.kind != "oneshot":
		return s.supervise(d)
	case d.remain:
		s.set("active", "exited")
		return s.remember(phaseExited)
	}
	s.forget()
	s.set("inactive", "dead")
	return nil
}

var errStartLimit = fmt.Errorf("TimeoutStartSec: %w", context.DeadlineExceeded)

// prepare makes what the processes of the unit need.
func (s *service) prepare(d *definition) (launch, map[string]string, error) {
	h := s.runner.host
	env, err := d.environ(h, s.runner.env)
	if err != nil {
		return launch{}, nil, err
	}
	if err := d.directories(h, env); err != nil {
		return launch{}, nil, err
	}
	l := launch{dir: h.root, alone: d.killMode == "process" || d.killMode == "none"}
	if dir := d.last("Service.WorkingDirectory", ""); dir != "" {
		if l.dir, err = s.workingDir(dir); err != nil {
			return launch{}, nil, err
		}
	}
	if l.out, err = s.output(d); err != nil {
		return launch{}, nil, err
	}
	return l, env, nil
}

func (s *service) workingDir(dir string) (string, error) {
	optional := dir[0] == '-'
	if optional {
		dir = dir[1:]
	}
	if dir == "~" {
		dir = "/root"
	}
	dir, err := specifiers(dir, s.name)
	if err != nil {
		return "", err
	}
	real, err := s.runner.host.Path(dir)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(real); err != nil || !info.IsDir() {
		if optional {
			return s.runner.host.root, nil
		}
		return "", fmt.Errorf("WorkingDirectory=%s: no such directory", dir)
	}
	return real, nil
}

// LogPath is where the process runner writes what a unit prints.
func LogPath(unit string) string { return "/var/log/units/" + unit + ".log" }

func (s *service) output(d *definition) (*os.File, error) {
	h := s.runner.host
	p := LogPath(s.name)
	if d.last("Service.StandardOutput", "") == "null" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err := h.MkdirAll(path.Dir(p)); err != nil {
		return nil, err
	}
	real, err := h.Path(p)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(real, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, explain(p, err)
	}
	if info, err := out.Stat(); err == nil {
		s.mu.Lock()
		s.logStart = info.Size()
		s.mu.Unlock()
	}
	return out, nil
}

// command completes a launch with a command.
func (s *service) command(l launch, c command, env map[string]string) (launch, error) {
	h := s.runner.host
	argv := c.expand(env)
	program, err := h.program(argv[0])
	if err != nil {
		return l, err
	}
	l.program = program
	l.argv = []string{or(c.argv0, program)}
	for _, arg := range argv[1:] {
		l.argv = append(l.argv, h.argument(arg))
	}
	l.env = flatten(env)
	return l, nil
}

// control runs a command to its end.
func (s *service) control(ctx context.Context, l launch, c command, env map[string]string) error {
	l, err := s.command(l, c, env)
	if err == nil {
		l.alone = false
		err = s.toEnd(ctx, l, c)
	}
	if err != nil && c.ignore && ctx.Err() == nil {
		return nil
	}
	return err
}

func (s *service) toEnd(ctx context.Context, l launch, c command) error {
	p, err := s.runner.spawn(l)
	if err != nil {
		return err
	}
	if !s.await(ctx, p) {
		s.killNow(p)
		return &JobError{Unit: s.name, Verb: "start", Result: "timeout", Status: path.Base(l.program) + ": " + context.Cause(ctx).Error()}
	}
	s.mu.Lock()
	clean := s.def.clean(p.exit)
	s.mu.Unlock()
	if !clean {
		return &JobError{Unit: s.name, Verb: "start", Result: "failed", Status: path.Base(l.program) + ": " + p.exit.String()}
	}
	return nil
}

// await waits for the end of a process; false when ctx or the runner ended first.
func (s *service) await(ctx context.Context, p *process) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.runner.ctx, cancel)()
	return p.wait(ctx)
}

// begin starts the main process and waits until it says that it is ready, if it is of the kind that does.
func (s *service) begin(ctx context.Context, d *definition, l launch, env map[string]string) error {
	var socket *notifySocket
	if d.kind == "notify" || d.kind == "notify-reload" {
		var err error
		if socket, err = s.runner.listen(newSocketName()); err != nil {
			return err
		}
		env["NOTIFY_SOCKET"] = socket.name
	}
	l, err := s.command(l, d.start[0], env)
	var p *process
	if err == nil {
		p, err = s.runner.spawn(l)
	}
	if err != nil {
		socket.Close()
		return err
	}
	s.runner.log.Debug("unit has a process", "unit", s.name, "pid", p.pid)
	env["MAINPID"] = strconv.Itoa(p.pid)
	s.mu.Lock()
	s.main, s.notify = p, socket
	s.mu.Unlock()
	if socket == nil {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.runner.ctx, func() { cancel(context.Cause(s.runner.ctx)) })()
	select {
	case <-socket.ready:
		return nil
	case <-p.done:
		select {
		case <-socket.ready: // it said so and ended at once: supervise will see
			return nil
		default:
		}
		return &JobError{Unit: s.name, Verb: "start", Result: "failed", Status: p.exit.String() + " before it was ready"}
	case <-ctx.Done():
		return &JobError{Unit: s.name, Verb: "start", Result: "timeout", Status: "it did not say that it is ready: " + context.Cause(ctx).Error()}
	}
}

// kill ends what a failed start has left.
func (s *service) kill(d *definition) {
	s.mu.Lock()
	p, socket := s.main, s.notify
	s.main, s.notify = nil, nil
	s.mu.Unlock()
	defer socket.Close()
	if p == nil {
		return
	}
	p.signal(d.killSignal, !p.alone)
	grace, cancel := context.WithTimeout(context.Background(), min(max(d.stopLimit, time.Second), 5*time.Second))
	defer cancel()
	if !s.await(grace, p) {
		s.killNow(p)
	}
}

// killNow kills a process and waits until it is gone, or hangs in the kernel.
func (s *service) killNow(p *process) {
	p.signal(unix.SIGKILL, !p.alone)
	grace, cancel := context.WithTimeout(context.Background(), killGrace)
	defer cancel()
	s.await(grace, p)
}

// within tells whether another start is allowed by the start limit, and counts it.
func (s *service) within(d *definition) bool {
	if d.interval == 0 || d.burst == 0 {
		return true
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts = slices.DeleteFunc(s.starts, func(t time.Time) bool { return now.Sub(t) > d.interval })
	s.starts = append(s.starts, now)
	return len(s.starts) < d.burst // the first start of all is not in the list
}
