package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"context"
)

// stateDir is where the process runner keeps what it started. It is in /run, which a machine's reboot empties.
const stateDir = "/run/rekindle/units"

// The phases of a unit that a later runner has to know.
const (
	phaseStarting = "starting" // its start was not over, or had not even a process: it is begun again
	phaseRunning  = "running"
	phaseExited   = "exited" // RemainAfterExit
)

// keptState is <stateDir>/<unit>.json.
type keptState struct {
	Phase  string    `json:"phase"`
	PID    int       `json:"pid,omitempty"`
	Ticks  uint64    `json:"ticks,omitempty"` // when the process started
	Boot   string    `json:"boot"`            // of the machine
	Start  string    `json:"start,omitempty"` // the value of startEnv
	Notify string    `json:"notify,omitempty"`
	Began  time.Time `json:"began"`
	Log    int64     `json:"log"` // where its log began
}

func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}

// remember writes down what runs.
func (s *service) remember(phase string) error {
	s.mu.Lock()
	state := keptState{Phase: phase, Boot: bootID(), Start: s.begun, Began: s.began, Log: s.logStart}
	if s.main != nil && phase == phaseRunning {
		state.PID, state.Ticks = s.main.pid, s.main.ticks
	}
	if s.notify != nil {
		state.Notify = s.notify.name
	}
	s.mu.Unlock()
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	h := s.runner.host
	if err := h.MkdirAll(stateDir); err != nil {
		return err
	}
	_, err = h.Write(context.Background(), File{Path: s.statePath(), Mode: 0o600, Content: data, Later: true})
	return err
}

func (s *service) statePath() string { return path.Join(stateDir, s.name+".json") }

func (s *service) forget() {
	if err := s.runner.host.Remove(s.statePath()); err != nil {
		s.runner.log.Warn("unit's state not forgotten", "unit", s.name, "err", err)
	}
}

// adoptAll takes over what an earlier runner started.
func (r *Processes) adoptAll() error {
	names, err := r.host.List(stateDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range names {
		if name, ok := strings.CutSuffix(file, ".json"); ok && !strings.HasPrefix(name, ".") {
			errs = append(errs, r.unit(name).adopt())
		}
	}
	return errors.Join(errs...)
}

func (s *service) adopt() error {
	data, err := s.runner.host.Read(s.statePath())
	if err != nil {
		return err
	}
	var state keptState
	if err := json.Unmarshal(data, &state); err != nil || state.Boot != bootID() {
		s.forget() // of before a reboot; or of a machine that lost power while it was written, which is the same
		return nil
	}
	d, err := s.runner.definition(s.name)
	if err != nil { // its file is gone or broken, but it runs: it can still be stopped
		d = &definition{unitFile: &unitFile{name: s.name}, service: true, kind: "simple", restart: "no",
			killSignal: 15, killMode: "control-group", stopLimit: 90 * time.Second}
	}
	s.mu.Lock()
	s.def, s.began, s.logStart = d, state.Began, state.Log
	s.mu.Unlock()
	if state.Phase == phaseExited {
		s.set("active", "exited")
		return nil
	}
	if state.Phase == phaseStarting {
		s.forget() // also when a process stays: the next start fails then, and says why
		if err := s.endStrays(d, state.Start); err != nil {
			s.runner.log.Warn("interrupted start not undone", "unit", s.name, "err", err)
		}
		return nil
	}
	p, err := s.runner.adopt(state.PID, state.Ticks)
	if err != nil {
		return fmt.Errorf("unit %s: %w", s.name, err)
	}
	if p == nil {
		s.forget()
		if s.runner.log.Info("unit ended while no agent ran", "unit", s.name); d.restarts(exit{unknown: true}) {
			s.startLater(d)
		} else {
			s.set("failed", "failed")
		}
		return nil
	}
	s.mu.Lock()
	s.main = p
	s.mu.Unlock()
	if state.Notify != "" { // so that what it sends goes nowhere rather than fails
		socket, err := s.runner.listen(state.Notify)
		if err != nil {
			s.runner.log.Debug("notify socket not taken over", "unit", s.name, "err", err)
		}
		s.mu.Lock()
		s.notify = socket
		s.mu.Unlock()
	}
	s.set("active", "running")
	s.follow(d, p)
	return nil
}
