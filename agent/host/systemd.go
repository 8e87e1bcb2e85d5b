package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"rekindle/agent/apply"
)

// Systemd runs units through systemd's D-Bus interface. It connects when it is first used, and again when the
// connection was lost, as a restart of the bus or of systemd itself (daemon-reexec) does.
type Systemd struct {
	dial    func(ctx context.Context) (*dbus.Conn, error)
	journal func(ctx context.Context, unit string) string
	log     *slog.Logger

	mu   sync.Mutex
	conn *dbus.Conn
}

var _ apply.Units = (*Systemd)(nil)

// NewSystemd is the systemd of this machine. The caller closes it.
func NewSystemd(log *slog.Logger) *Systemd {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Systemd{dial: dbus.NewWithContext, journal: journalWords, log: log}
}

// Close ends the connection.
func (s *Systemd) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

const (
	dials     = 5 // a bus that restarts is back within a second or two
	dialPause = 200 * time.Millisecond
	jobPoll   = 2 * time.Second // how often a job is looked for whose end may have been missed
)

// connect returns a connection that works, as far as one can know.
func (s *Systemd) connect(ctx context.Context) (*dbus.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && s.conn.Connected() {
		return s.conn, nil
	}
	if s.conn != nil {
		s.log.Warn("connection to systemd lost")
		s.conn.Close()
		s.conn = nil
	}
	var err error
	for try := range dials {
		// The connection outlives the call that needed it first.
		if s.conn, err = s.dial(context.WithoutCancel(ctx)); err == nil {
			return s.conn, nil
		}
		s.conn = nil
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("systemd: %w: %w", context.Cause(ctx), err)
		case <-time.After(dialPause<<try/2 + rand.N(dialPause)):
		}
	}
	return nil, fmt.Errorf("systemd: %w (is systemd this machine's init, and may this user speak to it?)", err)
}

// call runs f, and once more on a new connection if the one it had turns out to be lost.
func (s *Systemd) call(ctx context.Context, f func(*dbus.Conn) error) error {
	for try := 0; ; try++ {
		conn, err := s.connect(ctx)
		if err != nil {
			return err
		}
		if err = f(conn); err == nil || try > 0 || !lost(err) && conn.Connected() {
			return err
		}
		s.mu.Lock()
		if s.conn == conn {
			s.conn.Close()
			s.conn = nil
		}
		s.mu.Unlock()
	}
}

// lost tells whether an error means that the connection ended. Which one a call sees depends on who noticed first: the
// socket, or the reader that closes it.
func lost(err error) bool {
	for _, end := range []error{godbus.ErrClosed, net.ErrClosed, io.ErrClosedPipe, io.EOF, unix.EPIPE, unix.ECONNRESET} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// Reload implements apply.Units.
func (s *Systemd) Reload(ctx context.Context) error {
	return s.call(ctx, func(c *dbus.Conn) error { return c.ReloadContext(ctx) })
}

// State implements apply.Units.
func (s *Systemd) State(ctx context.Context, name string) (apply.UnitState, error) {
	var st apply.UnitState
	err := s.call(ctx, func(c *dbus.Conn) error {
		p, err := c.GetUnitPropertiesContext(ctx, name)
		if err != nil {
			return err
		}
		st = apply.UnitState{
			Load: text(p["LoadState"]), Active: text(p["ActiveState"]), Sub: text(p["SubState"]), File: text(p["UnitFileState"]),
		}
		if at, _ := p["ConditionTimestamp"].(uint64); at != 0 && st.Active == "inactive" {
			held, _ := p["ConditionResult"].(bool)
			st.Skipped = !held
		}
		if !strings.HasSuffix(name, ".service") || st.Load != "loaded" {
			return nil
		}
		p, err = c.GetUnitTypePropertiesContext(ctx, name, "Service")
		if err != nil {
			return err
		}
		st.Type = text(p["Type"])
		st.Remain, _ = p["RemainAfterExit"].(bool)
		return nil
	})
	return st, err
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// Do implements apply.Units.
func (s *Systemd) Do(ctx context.Context, verb, name string) error {
	var start func(*dbus.Conn, chan<- string) (int, error)
	switch verb {
	case "start":
		start = func(c *dbus.Conn, ch chan<- string) (int, error) { return c.StartUnitContext(ctx, name, "replace", ch) }
	case "restart":
		start = func(c *dbus.Conn, ch chan<- string) (int, error) {
			return c.RestartUnitContext(ctx, name, "replace", ch)
		}
	case "reload":
		start = func(c *dbus.Conn, ch chan<- string) (int, error) {
			return c.ReloadUnitContext(ctx, name, "replace", ch)
		}
	case "stop":
		start = func(c *dbus.Conn, ch chan<- string) (int, error) { return c.StopUnitContext(ctx, name, "replace", ch) }
	default:
		return fmt.Errorf("unit %s: %q is not start, restart, reload or stop", name, verb)
	}
	st, err := s.State(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case verb == "stop" && st.Load == "not-found" && st.Active == "inactive":
		return nil
	case st.Load == "not-found":
		return fmt.Errorf("unit %s not found", name)
	case st.Load == "masked" && verb != "stop":
		return fmt.Errorf("unit %s is masked (systemctl unmask %[1]s)", name)
	}
	if verb == "start" || verb == "restart" {
		// Also a unit that has not failed yet may be close to its start limit.
		if err := s.call(ctx, func(c *dbus.Conn) error { return c.ResetFailedUnitContext(ctx, name) }); err != nil {
			s.log.Debug("reset-failed", "unit", name, "err", err)
		}
	}
	var conn *dbus.Conn
	done := make(chan string, 1) // never blocks the connection, also when nobody waits any more
	if err := s.call(ctx, func(c *dbus.Conn) error {
		conn = c
		_, err := start(c, done)
		return err
	}); err != nil {
		return s.failure(ctx, verb, name, "failed", err.Error())
	}
	return s.await(ctx, conn, done, verb, name)
}

// await waits for the end of a job. Its signal can be missed when the connection is lost, so the unit is asked too.
func (s *Systemd) await(ctx context.Context, conn *dbus.Conn, done <-chan string, verb, name string) error {
	poll := time.NewTicker(jobPoll)
	defer poll.Stop()
	for {
		select {
		case result := <-done:
			return s.judge(ctx, verb, name, result)
		case <-ctx.Done():
			return s.failure(ctx, verb, name, "timeout", fmt.Sprintf("no end of the job: %v", context.Cause(ctx)))
		case <-poll.C:
			if conn.Connected() {
				continue
			}
			pending, err := s.pending(ctx, name)
			if err != nil {
				return err
			}
			if !pending {
				return s.judge(ctx, verb, name, "unknown")
			}
		}
	}
}

// pending tells whether systemd still has a job for the unit.
func (s *Systemd) pending(ctx context.Context, name string) (pending bool, err error) {
	err = s.call(ctx, func(c *dbus.Conn) error {
		p, err := c.GetUnitPropertiesContext(ctx, name)
		if err != nil {
			return err
		}
		if job, ok := p["Job"].([]any); ok && len(job) > 0 { // (id, path); an id of 0 is no job
			id, _ := job[0].(uint32)
			pending = id != 0
		}
		return nil
	})
	return pending, err
}

// judge turns a job's result into an error.
func (s *Systemd) judge(ctx context.Context, verb, name, result string) error {
	switch result {
	case "done", "skipped": // skipped: there was nothing to do
		return nil
	case "unknown": // the signal was missed; what the unit is now has to tell
		st, err := s.State(ctx, name)
		if err != nil {
			return err
		}
		up := st.Active == "active" || st.Active == "reloading"
		if verb == "stop" && !up || up || st.Active == "inactive" {
			return nil
		}
	}
	return s.failure(ctx, verb, name, result, "")
}

// failureLimit bounds the questions about a failure, also when the job's own time is over.
const failureLimit = 3 * time.Second

// failure says why a job failed: systemd's result, how the process ended, and the unit's last lines in the journal.
func (s *Systemd) failure(ctx context.Context, verb, name, result, status string) error {
	job := &JobError{Unit: name, Verb: verb, Result: result, Status: status}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failureLimit)
	defer cancel()
	err := s.call(ctx, func(c *dbus.Conn) error {
		p, err := c.GetUnitTypePropertiesContext(ctx, name, "Service")
		if err != nil {
			return err
		}
		if r := text(p["Result"]); r == "timeout" {
			job.Result = r
		}
		if job.Status == "" {
			job.Status = ended(p)
		}
		return nil
	})
	if err != nil {
		s.log.Debug("properties of a failed unit", "unit", name, "err", err)
	}
	job.Words = s.journal(ctx, name)
	return job
}

// ended reads how the main process ended, or else the last command that is not it.
func ended(p map[string]any) string {
	code, _ := p["ExecMainCode"].(int32)
	status, _ := p["ExecMainStatus"].(int32)
	result := text(p["Result"])
	switch {
	case code == 1 && status != 0: // CLD_EXITED
		return exit{code: int(status)}.String()
	case code == 2 || code == 3: // CLD_KILLED, CLD_DUMPED
		return exit{signal: unix.Signal(status)}.String()
	case result != "" && result != "success":
		return result
	}
	return ""
}

func journalWords(ctx context.Context, unit string) string {
	out, err := exec.CommandContext(ctx, "journalctl", "-u", unit, "-n", "10", "--no-pager", "-o", "cat").Output()
	if err != nil {
		return ""
	}
	return lastLines(string(out))
}

// Enable implements apply.Units.
func (s *Systemd) Enable(ctx context.Context, name string, on bool) (changed bool, err error) {
	st, err := s.State(ctx, name)
	if err != nil {
		return false, err
	}
	if !on {
		if st.Load == "not-found" || st.File != "enabled" && st.File != "enabled-runtime" {
			return false, nil
		}
		err = s.call(ctx, func(c *dbus.Conn) error {
			changes, err := c.DisableUnitFilesContext(ctx, []string{name}, st.File == "enabled-runtime")
			changed = len(changes) > 0
			return err
		})
		return changed, err
	}
	switch {
	case st.Load == "not-found":
		return false, fmt.Errorf("unit %s not found", name)
	case st.File == "enabled":
		return false, nil
	}
	err = s.call(ctx, func(c *dbus.Conn) error {
		_, changes, err := c.EnableUnitFilesContext(ctx, []string{name}, false, true)
		changed = len(changes) > 0
		return err
	})
	return changed, err
}
