package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What the processes of an instance have in their environment. The runner of units sets the first, for units; the second is
// the agent's.
const (
	unitVariable  = "REKINDLE_ROOT"
	agentVariable = "REKINDLE_LAB_NODE"
)

// Processes are the PIDs of everything that runs in the instance beside its agent.
func (n *Node) Processes() []int { return processes(n.unit) }

func (n *Node) unit(variable string) bool { return variable == unitVariable+"="+n.Root }

// processes are the PIDs of those that have a variable, NAME=value, in their environment. This process is none of them.
func processes(has func(variable string) bool) []int {
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	var pids []int
	for _, path := range found {
		environ, err := os.ReadFile(path)
		if err != nil {
			continue // another user's, or gone
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if slices.ContainsFunc(strings.Split(string(environ), "\x00"), has) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Below are the PIDs of the agents and units of all instances whose roots are below a directory, whoever started them.
func Below(dir string) []int {
	return processes(func(variable string) bool {
		name, root, _ := strings.Cut(variable, "=")
		return (name == unitVariable || name == agentVariable) && strings.HasPrefix(root, dir+"/")
	})
}

// EndBelow ends all of Below at once, as the loss of power does.
func EndBelow(dir string) error {
	if err := killAll(func() []int { return Below(dir) }); err != nil {
		return fmt.Errorf("instances below %s: %w", dir, err)
	}
	return nil
}

// killAll ends processes until there are none: one may start another while it is being killed.
func killAll(find func() []int) error {
	for range 200 {
		pids := find()
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		time.Sleep(5 * time.Millisecond) // for the kernel to take them away
		for _, pid := range pids {
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(pid, &status, syscall.WNOHANG, nil) // an orphan that came to us (Adopt), or not ours
		}
	}
	return errors.New("some processes cannot be killed")
}

// Adopt makes this process the parent of what its descendants leave behind, instead of init: units outlive their
// agent, and in a container there may be no init that would take them away when they end.
func Adopt() error {
	const prSetChildSubreaper = 36 // prctl(2)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return errno
	}
	return nil
}
