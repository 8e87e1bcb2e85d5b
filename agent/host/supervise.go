package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// supervise takes the main process as running, and in the background waits for its end.
func (s *service) supervise(d *definition) error {
	s.mu.Lock()
	p := s.main
	s.active, s.sub = "active", "running"
	s.mu.Unlock()
	select {
	case <-p.done: // a process that fails at once should fail its start
		if !d.clean(p.exit) {
			return &JobError{Unit: s.name, Verb: "start", Result: "failed", Status: p.exit.String()}
		}
	default:
	}
	if err := s.remember(phaseRunning); err != nil {
		return err
	}
	s.follow(d, p)
	return nil
}

func (s *service) follow(d *definition, p *process) {
	s.runner.running.Go(func() {
		if s.await(context.Background(), p) {
			s.ended(d, p)
		}
	})
}

// ended is what follows from the end of the main process, unless somebody asked for it.
func (s *service) ended(d *definition, p *process) {
	s.mu.Lock()
	if s.main != p || s.sub == "stop" {
		s.mu.Unlock()
		return
	}
	s.main = nil
	socket := s.notify
	s.notify = nil
	clean, restarts := d.clean(p.exit), d.restarts(p.exit)
	switch {
	case clean && d.remain:
		s.active, s.sub = "active", "exited"
	case restarts: // startLater says what it is then, without a moment of failure before
	case clean:
		s.active, s.sub = "inactive", "dead"
	default:
		s.active, s.sub = "failed", "failed"
	}
	s.mu.Unlock()
	socket.Close()
	s.runner.log.Info("unit ended", "unit", s.name, "status", p.exit.String(), "restarts", restarts)
	if clean && d.remain {
		if err := s.remember(phaseExited); err != nil {
			s.runner.log.Warn("unit's state not kept", "unit", s.name, "err", err)
		}
		return
	}
	s.forget()
	if restarts {
		s.startLater(d)
	}
}

// startLater starts the unit after RestartSec, unless a job comes first or it has been started too often.
func (s *service) startLater(d *definition) {
	if s.runner.ctx.Err() != nil {
		return
	}
	if !s.within(d) {
		s.runner.log.Warn("unit started too often", "unit", s.name, "times", d.burst, "within", d.interval)
		s.set("failed", "failed")
		return
	}
	ctx, cancel := context.WithCancel(s.runner.ctx)
	s.mu.Lock()
	s.active, s.sub, s.again = "activating", "auto-restart", cancel
	s.mu.Unlock()
	s.runner.running.Go(func() {
		defer cancel()
		select {
		case <-ctx.Done():
			return
		case <-time.After(d.restartDelay):
		}
		if s.lock(ctx) != nil {
			return
		}
		defer s.unlock()
		s.mu.Lock()
		mine := ctx.Err() == nil && s.sub == "auto-restart"
		if mine {
			s.again = nil // from here on a job waits for its turn
		}
		s.mu.Unlock()
		if !mine {
			return
		}
		if err := s.startLocked(s.runner.ctx, d); err != nil {
			s.runner.log.Warn("unit not restarted", "unit", s.name, "err", err)
		}
	})
}

// halt stops the unit.
func (s *service) halt(ctx context.Context) error {
	s.pardon()
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.mu.Lock()
	d, p, socket, was := s.def, s.main, s.notify, s.active
	if d == nil || was == "inactive" || was == "failed" {
		s.mu.Unlock()
		return nil
	}
	s.active, s.sub = "deactivating", "stop"
	s.mu.Unlock()
	var err error
	if d.service {
		err = s.end(ctx, d, p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && p != nil {
		s.active, s.sub = was, "running" // it is still there
		s.follow(d, p)
		return err
	}
	socket.Close()
	s.main, s.notify = nil, nil
	s.active, s.sub = "inactive", "dead"
	s.forget()
	return err
}

// end runs ExecStop, then tells the processes to end, then makes them.
func (s *service) end(ctx context.Context, d *definition, p *process) error {
	if d.stopLimit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.stopLimit+killGrace)
		defer cancel()
	}
	l, env, err := s.prepare(d)
	if err != nil {
		return err
	}
	defer l.out.Close()
	if p != nil {
		env["MAINPID"] = strconv.Itoa(p.pid)
	}
	for _, c := range d.stop {
		c.ignore = true // systemd goes on to the signal as well
		if err := s.control(ctx, l, c, env); err != nil {
			break
		}
	}
	if p != nil {
		if err := s.terminate(ctx, d, p); err != nil {
			return err
		}
	}
	for _, c := range d.stopPost {
		c.ignore = true
		if err := s.control(ctx, l, c, env); err != nil {
			break
		}
	}
	if d.last("Service.RuntimeDirectoryPreserve", "no") == "no" {
		for _, name := range d.list("Service.RuntimeDirectory") {
			if err := s.runner.host.RemoveAll(path.Join("/run", name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// killGrace is how long a killed process may take to be gone.
const killGrace = 5 * time.Second

func (s *service) terminate(ctx context.Context, d *definition, p *process) error {
	if d.killMode == "none" {
		return nil
	}
	p.signal(d.killSignal, d.killMode == "control-group")
	p.signal(unix.SIGCONT, d.killMode == "control-group") // a stopped process does not hear it
	patience := ctx
	if d.stopLimit > 0 {
		var cancel context.CancelFunc
		patience, cancel = context.WithTimeout(ctx, d.stopLimit)
		defer cancel()
	}
	if s.await(patience, p) {
		return nil
	}
	if s.runner.ctx.Err() != nil {
		return errors.New("the runner was closed")
	}
	p.signal(unix.SIGKILL, d.killMode != "process")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
	defer cancel()
	if !s.await(grace, p) {
		return &JobError{Unit: s.name, Verb: "stop", Result: "timeout", Status: fmt.Sprintf("process %d outlived SIGKILL: it hangs in the kernel (see /proc/%[1]d/stack)", p.pid)}
	}
	return nil
}

// reload runs ExecReload.
func (s *service) reload(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.mu.Lock()
	d, p, active := s.def, s.main, s.active
	s.mu.Unlock()
	if active != "active" || p == nil {
		return &JobError{Unit: s.name, Verb: "reload", Result: "failed", Status: "it does not run"}
	}
	commands, err := s.reloadCommands()
	if err != nil {
		return err
	}
	if d.kind == "notify-reload" {
		p.signal(unix.SIGHUP, false)
	} else if len(commands) == 0 {
		return &JobError{Unit: s.name, Verb: "reload", Result: "failed", Status: "it has no ExecReload"}
	}
	l, env, err := s.prepare(d)
	if err != nil {
		return err
	}
	defer l.out.Close()
	env["MAINPID"] = strconv.Itoa(p.pid)
	for _, c := range commands {
		if err := s.control(ctx, l, c, env); err != nil {
			if job, ok := errors.AsType[*JobError](err); ok {
				job.Verb, job.Words = "reload", s.lastWords()
			}
			return err
		}
	}
	return nil
}

func (s *service) reloadCommands() ([]command, error) {
	d, err := s.runner.definition(s.name)
	if err != nil {
		return nil, err
	}
	return d.reload, nil
}

// lastWords is the end of what the unit printed since it was started, on one line.
func (s *service) lastWords() string {
	s.mu.Lock()
	from := s.logStart
	s.mu.Unlock()
	real, err := s.runner.host.Path(LogPath(s.name))
	if err != nil {
		return ""
	}
	f, err := os.Open(real)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err.Error()
		}
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	from = max(from, info.Size()-4096)
	text := make([]byte, max(0, info.Size()-from))
	n, _ := f.ReadAt(text, from)
	return lastLines(string(text[:n]))
}

// wordsShown is how many lines of a unit's log an error carries.
const wordsShown = 5

func lastLines(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-wordsShown):], " | ")
}
