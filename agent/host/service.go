package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// await waits for the end of a process; false when ctx or the runner ended first.
func (s *service) await(ctx context.Context, p *process) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.runner.ctx, cancel)()
	return p.wait(ctx)
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
