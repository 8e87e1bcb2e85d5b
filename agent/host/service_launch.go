package host

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
)

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
