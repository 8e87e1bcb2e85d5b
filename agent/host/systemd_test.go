package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"rekindle/agent/apply"
)

// manager answers as systemd's manager does, over real D-Bus connections without a bus in between, and has the process
// runner do the work. So Systemd passes the suite on machines where another init runs.
type manager struct {
	t       *testing.T
	runner  *Processes
	running sync.WaitGroup

	mu    sync.Mutex
	conns []*godbus.Conn
	dials int
	next  uint32
	jobs  map[string]job // by unit
	ends  map[string]*JobError
}

type job struct {
	id     uint32
	cancel context.CancelFunc
	done   chan struct{}
}

func newManager(t *testing.T, h *Host) (*manager, *Systemd) {
	m := &manager{t: t, runner: runner(t, h), jobs: map[string]job{}, ends: map[string]*JobError{}}
	t.Cleanup(m.running.Wait)
	t.Cleanup(m.hangUp)
	t.Cleanup(m.cancelAll)
	s := NewSystemd(slog.New(slog.DiscardHandler))
	s.dial = m.dial
	s.journal = func(_ context.Context, unit string) string { return m.runner.unit(unit).lastWords() }
	t.Cleanup(s.Close)
	return m, s
}

func (m *manager) cancelAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		j.cancel()
	}
}

// hangUp closes every connection, as a bus that restarts does.
func (m *manager) hangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		c.Close()
	}
	m.conns = nil
}

func (m *manager) dial(context.Context) (*dbus.Conn, error) {
	m.mu.Lock()
	m.dials++
	m.mu.Unlock()
	return dbus.NewConnection(func() (*godbus.Conn, error) {
		ours, theirs := m.pair()
		server, err := open(ours, func(c *godbus.Conn) error {
			return errors.Join(
				c.Export(calls{m}, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"),
				c.ExportSubtree(properties{m}, "/org/freedesktop/systemd1/unit", "org.freedesktop.DBus.Properties"),
				c.Export(bus{}, "/org/freedesktop/DBus", "org.freedesktop.DBus"))
		})
		if err != nil {
			return nil, err
		}
		m.mu.Lock()
		m.conns = append(m.conns, server)
		m.mu.Unlock()
		return open(theirs, nil)
	})
}

func open(end net.Conn, prepare func(*godbus.Conn) error) (*godbus.Conn, error) {
	c, err := godbus.NewConn(end)
	if err != nil {
		return nil, err
	}
	if prepare != nil {
		if err := prepare(c); err != nil {
			return nil, err
		}
	}
	return c, c.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))})
}

// pair is the two ends of a connection. The library can only be the one that authenticates itself, so both ends do, to
// somebody in the middle who then steps aside.
func (m *manager) pair() (net.Conn, net.Conn) {
	a, middleA := net.Pipe()
	b, middleB := net.Pipe()
	readA, readB := bufio.NewReader(middleA), bufio.NewReader(middleB)
	var both sync.WaitGroup
	both.Add(2)
	for _, d := range []struct {
		from    *bufio.Reader
		own, to net.Conn
	}{{readA, middleA, middleB}, {readB, middleB, middleA}} {
		m.running.Go(func() {
			defer d.to.Close()
			defer d.own.Close()
			err := admit(d.from, d.own)
			both.Done()
			both.Wait()
			if err == nil {
				_, _ = io.Copy(d.to, d.from)
			}
		})
	}
	return a, b
}

// admit is a server's part of the D-Bus authentication protocol.
func admit(r *bufio.Reader, w io.Writer) error {
	if _, err := r.ReadByte(); err != nil {
		return err
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		answer := "ERROR\r\n"
		switch line = strings.TrimSpace(line); {
		case line == "BEGIN":
			return nil
		case line == "AUTH":
			answer = "REJECTED EXTERNAL\r\n"
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			answer = "OK 0123456789abcdef0123456789abcdef\r\n"
		}
		if _, err := io.WriteString(w, answer); err != nil {
			return err
		}
	}
}

type bus struct{}

func (bus) AddMatch(string) *godbus.Error { return nil }

// calls is org.freedesktop.systemd1.Manager.
type calls struct{ m *manager }

func (c calls) StartUnit(name, _ string) (godbus.ObjectPath, *godbus.Error) {
	return c.m.enqueue("start", name)
}

func (c calls) RestartUnit(name, _ string) (godbus.ObjectPath, *godbus.Error) {
	return c.m.enqueue("restart", name)
}

func (c calls) ReloadUnit(name, _ string) (godbus.ObjectPath, *godbus.Error) {
	return c.m.enqueue("reload", name)
}

func (c calls) StopUnit(name, _ string) (godbus.ObjectPath, *godbus.Error) {
	return c.m.enqueue("stop", name)
}

func (c calls) Reload() *godbus.Error { return nil }

func (c calls) ResetFailedUnit(name string) *godbus.Error {
	s := c.m.runner.unit(name)
	s.pardon()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == "failed" {
		s.active, s.sub = "inactive", "dead"
	}
	return nil
}

type change struct{ Type, File, Target string }

func (c calls) EnableUnitFiles(names []string, _, _ bool) (bool, []change, *godbus.Error) {
	changed, err := c.m.runner.Enable(context.Background(), names[0], true)
	if err != nil {
		return false, nil, godbus.MakeFailedError(err)
	}
	return true, changes(changed), nil
}

func (c calls) DisableUnitFiles(names []string, _ bool) ([]change, *godbus.Error) {
	changed, err := c.m.runner.Enable(context.Background(), names[0], false)
	if err != nil {
		return nil, godbus.MakeFailedError(err)
	}
	return changes(changed), nil
}

func changes(changed bool) []change {
	if changed {
		return []change{{"symlink", "a", "b"}}
	}
	return nil
}

// enqueue starts a job in the background, in place of one that the unit has.
func (m *manager) enqueue(verb, name string) (godbus.ObjectPath, *godbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	ctx, cancel := context.WithCancel(context.Background())
	earlier, busy := m.jobs[name]
	j := job{m.next, cancel, make(chan struct{})}
	m.jobs[name] = j
	delete(m.ends, name)
	path := godbus.ObjectPath(fmt.Sprintf("/org/freedesktop/systemd1/job/%d", j.id))
	m.running.Go(func() {
		defer cancel()
		defer close(j.done)
		if busy {
			earlier.cancel()
			<-earlier.done
		}
		m.finish(j.id, path, name, m.runner.Do(ctx, verb, name), ctx.Err() != nil)
	})
	return path, nil
}

func (m *manager) finish(id uint32, path godbus.ObjectPath, name string, err error, canceled bool) {
	result := "done"
	m.mu.Lock()
	if end, ok := errors.AsType[*JobError](err); ok {
		m.ends[name] = end
		result = end.Result
	} else if err != nil {
		result = "failed"
	}
	if result == "timeout" {
		result = "failed" // what systemd says of a service's own time-out
	}
	if canceled {
		result = "canceled"
	}
	if m.jobs[name].id == id {
		delete(m.jobs, name)
	}
	conns := m.conns
	m.mu.Unlock()
	for _, c := range conns {
		_ = c.Emit("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager.JobRemoved", id, path, name, result)
	}
}

type properties struct{ m *manager }

var exitStatus = regexp.MustCompile(`exit status (\d+)`)

// GetAll is org.freedesktop.DBus.Properties of a unit.
func (p properties) GetAll(msg godbus.Message, iface string) (map[string]godbus.Variant, *godbus.Error) {
	path, _ := msg.Headers[godbus.FieldPath].Value().(godbus.ObjectPath)
	name := unescapePath(strings.TrimPrefix(string(path), "/org/freedesktop/systemd1/unit/"))
	st, err := p.m.runner.State(context.Background(), name)
	if err != nil {
		return nil, godbus.MakeFailedError(err)
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	var all map[string]any
	if strings.HasSuffix(iface, ".Service") {
		all = map[string]any{"Type": st.Type, "RemainAfterExit": st.Remain, "Result": "success", "ExecMainCode": int32(0), "ExecMainStatus": int32(0)}
		if end := p.m.ends[name]; end != nil {
			all["Result"] = map[bool]string{true: "timeout", false: "exit-code"}[end.Result == "timeout"]
			if code := exitStatus.FindStringSubmatch(end.Status); code != nil {
				n, _ := strconv.Atoi(code[1])
				all["ExecMainCode"], all["ExecMainStatus"] = int32(1), int32(n)
			}
		}
	} else {
		job := struct {
			ID   uint32
			Path godbus.ObjectPath
		}{p.m.jobs[name].id, "/"}
		all = map[string]any{
			"LoadState": st.Load, "ActiveState": st.Active, "SubState": st.Sub, "UnitFileState": st.File,
			"ConditionTimestamp": uint64(1), "ConditionResult": !st.Skipped, "Job": job,
		}
	}
	variants := map[string]godbus.Variant{}
	for k, v := range all {
		variants[k] = godbus.MakeVariant(v)
	}
	return variants, nil
}

var escaped = regexp.MustCompile(`_[0-9a-f]{2}`)

func unescapePath(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(e string) string {
		n, _ := strconv.ParseUint(e[1:], 16, 8)
		return string(rune(n))
	})
}

func TestSystemd(t *testing.T) {
	testUnits(t, func(t *testing.T, h *Host) apply.Units {
		_, s := newManager(t, h)
		return s
	})
}

func TestSystemdReconnects(t *testing.T) {
	h := machine(t)
	m, s := newManager(t, h)
	install(t, h, "a.service", "[Service]\nType=notify\nExecStart=/usr/bin/helper pause=500ms ready stay\n")
	if _, err := s.State(t.Context(), "a.service"); err != nil {
		t.Fatal(err)
	}
	const restarts = 50 // who notices first, the call or the connection's reader, is chance
	for range restarts {
		m.hangUp()
		if _, err := s.State(t.Context(), "a.service"); err != nil {
			t.Fatalf("after the bus restarted: %v", err)
		}
	}
	m.mu.Lock()
	dials := m.dials
	m.mu.Unlock()
	if dials != 1+restarts {
		t.Errorf("dialled %d times", dials)
	}
	// The end of this job is told to nobody.
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() { done <- s.Do(ctx, "start", "a.service") }()
	eventually(t, "a job", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.jobs["a.service"].id != 0
	})
	m.hangUp()
	if err := <-done; err != nil {
		t.Errorf("a job whose end was missed: %v", err)
	}
}

func TestSystemdUnreachable(t *testing.T) {
	s := NewSystemd(nil)
	s.dial = func(context.Context) (*dbus.Conn, error) { return nil, errors.New("no bus") }
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.State(ctx, "a.service"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no bus") {
		t.Error(err)
	}
}
