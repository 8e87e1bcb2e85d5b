package host

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// startEnv is the variable that tells which start of a unit a process belongs to. The start is written down before its first
// process begins, and the process itself only when it is up: a runner that is killed in between leaves a process that
// no state file names by its number.
const startEnv = "REKINDLE_START"

func newStart(unit string) string { return unit + "/" + rand.Text() }

// endStrays ends the processes of a start that an earlier runner did not bring to its end. What they have started goes with them,
// unless KillMode lets it live.
func (s *service) endStrays(d *definition, start string) error {
	for range strayRounds { // one may have started another meanwhile
		strays, err := s.runner.strays(start)
		if err != nil {
			return err
		}
		if d.killMode == "process" || d.killMode == "none" {
			strays = slices.DeleteFunc(strays, func(p stray) bool { return !p.leads })
		}
		if len(strays) == 0 {
			return nil
		}
		for _, one := range strays {
			p, err := s.runner.adopt(one.pid, one.ticks)
			if err != nil {
				return err
			}
			if p == nil {
				continue
			}
			s.runner.log.Info("process of an interrupted start ends", "unit", s.name, "pid", p.pid)
			s.endStray(d, p, one.leads)
		}
	}
	return fmt.Errorf("processes of an interrupted start cannot be ended (grep -l %s /proc/[0-9]*/environ)", start)
}

const strayRounds = 5

func (s *service) endStray(d *definition, p *process, asked bool) {
	if !asked {
		s.killNow(p)
		return
	}
	s.mu.Lock()
	s.main = p
	s.mu.Unlock()
	s.kill(d)
}

// stray is a process that belongs to a start.
type stray struct {
	pid   int
	ticks uint64
	leads bool // its session, as what a runner starts does; not what it has started in turn
}

// strays are the processes of a start in this root, those that lead first.
func (r *Processes) strays(start string) ([]stray, error) {
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	var all []stray
	for _, file := range found {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		ticks, err := startTicks(pid) // before its environment, so that adopt knows whose that was
		if err != nil {
			continue // gone
		}
		environ, err := os.ReadFile(file)
		if err != nil {
			continue // gone, or another user's
		}
		variables := bytes.Split(environ, []byte{0})
		has := func(name, value string) bool {
			return slices.ContainsFunc(variables, func(v []byte) bool { return string(v) == name+"="+value })
		}
		if !has(startEnv, start) || !has(RootEnv, r.host.root) {
			continue
		}
		session, err := unix.Getsid(pid)
		all = append(all, stray{pid: pid, ticks: ticks, leads: err == nil && session == pid})
	}
	slices.SortStableFunc(all, func(a, b stray) int {
		switch {
		case a.leads && !b.leads:
			return -1
		case b.leads && !a.leads:
			return 1
		}
		return 0
	})
	return all, nil
}
