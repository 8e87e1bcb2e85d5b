// Package node is one instance of a laboratory: a directory that plays its file system and the real agent in a process.
// The units that the agent starts are processes, too; they outlive the agent, as systemd's do.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"rekindle/agent/status"
)

// Where the agent keeps what it knows, below the root.
const (
	statusPath   = "run/rekindle/status.json"
	timelinePath = "var/lib/rekindle/boot.json"
)

// stopLimit is how long an agent may take to end when asked.
const stopLimit = 20 * time.Second

// Options say how an instance starts its agent.
type Options struct {
	ID     string // i-0123456789abcdef0
	Root   string // its file system; absolute, and there already
	Log    string // file that gets what the agent writes, appended
	Binary string // the agent
	Args   []string
	Env    []string // all of it but what marks the agent as the instance's: nothing is inherited
}

// Node is one instance. Its methods may be called from any goroutine.
type Node struct {
	Options

	mu      sync.Mutex
	agent   *exec.Cmd // nil: not running
	ended   chan struct{}
	started time.Time // just before the agent's exec
	exit    error
}

// New describes an instance; Start starts its agent.
func New(o Options) *Node { return &Node{Options: o} }

// Start starts the agent.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.agent != nil {
		return fmt.Errorf("node %s: the agent runs already", n.ID)
	}
	log, err := os.OpenFile(n.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.ID, err)
	}
	defer log.Close() // the process has its own copy
	cmd := exec.Command(n.Binary, n.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.Root, log, log
	cmd.Env = append(slices.Clone(n.Env), agentVariable+"="+n.Root)
	// A group of its own, so that Ctrl-C reaches the lab alone, which then ends the instances in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	n.started = time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("node %s: %w", n.ID, err)
	}
	ended := make(chan struct{})
	n.agent, n.ended, n.exit = cmd, ended, nil
	go func() {
		err := cmd.Wait()
		n.mu.Lock()
		n.agent, n.exit = nil, err
		n.mu.Unlock()
		close(ended)
	}()
	return nil
}

// Started is when the agent was started last: the moment before its exec.
func (n *Node) Started() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.started
}

// PID is the agent's, or zero.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.agent == nil {
		return 0
	}
	return n.agent.Process.Pid
}

// Stop ends the agent as systemd does: SIGTERM, and SIGKILL when that takes too long, which is an error. The units stay.
func (n *Node) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	err := n.end(ctx, syscall.SIGTERM)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = fmt.Errorf("node %s: the agent did not stop: %w", n.ID, err)
		return errors.Join(err, n.end(context.WithoutCancel(ctx), syscall.SIGKILL))
	}
	return err
}

// Kill ends the agent without a word. The units stay.
func (n *Node) Kill() error { return n.end(context.Background(), syscall.SIGKILL) }

func (n *Node) end(ctx context.Context, signal syscall.Signal) error {
	n.mu.Lock()
	agent, ended := n.agent, n.ended
	n.mu.Unlock()
	if agent == nil {
		return nil
	}
	if err := agent.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("node %s: %w", n.ID, err)
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Restart stops the agent and starts it again.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	return n.Start()
}

// Destroy ends everything of the instance at once, as the loss of its power does. The root stays.
func (n *Node) Destroy() error {
	if err := errors.Join(n.Kill(), killAll(n.Processes)); err != nil {
		return fmt.Errorf("node %s: %w", n.ID, err)
	}
	return nil
}

// Path is where a path of the node really is.
func (n *Node) Path(path string) string { return filepath.Join(n.Root, path) }

// Status is what the agent says of itself. The error is fs.ErrNotExist when it has said nothing yet.
func (n *Node) Status() (*status.Status, error) { return status.Read(n.Path(statusPath)) }

// Timeline is that of the last boot.
func (n *Node) Timeline() (*status.Timeline, error) { return status.ReadTimeline(n.Path(timelinePath)) }

// Ready waits until the agent that runs now says that it is ready. It is an error if it says that it failed, or ends.
func (n *Node) Ready(ctx context.Context) (*status.Status, error) {
	n.mu.Lock()
	ended := n.ended
	n.mu.Unlock()
	for {
		s, err := n.Status()
		if err == nil && s.Agent.PID == n.PID() {
			switch s.State {
			case status.StateReady, status.StateDegraded:
				return s, nil
			case status.StateFailed:
				return s, fmt.Errorf("node %s: %s: %s (%s)", n.ID, s.Reason, s.Message, s.Hint)
			}
		}
		select {
		case <-ended:
			return s, fmt.Errorf("node %s: the agent ended: %w; see %s", n.ID, n.ending(), n.Log)
		case <-ctx.Done():
			return s, fmt.Errorf("node %s: not ready: %w: %s", n.ID, ctx.Err(), describe(s, err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ending is how the agent ended.
func (n *Node) ending() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.exit == nil {
		return errors.New("exit status 0")
	}
	return n.exit
}

func describe(s *status.Status, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case len(s.Waits) > 0:
		return s.Waits[0].Name + ": " + s.Waits[0].For
	}
	return string(s.State) + " " + s.Message
}
