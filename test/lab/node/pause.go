package node

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
)

// Pause freezes everything of the instance: to the others it is there and does not answer, while EC2 says that it runs. The
// kernel goes on accepting connections for it, on which nothing comes, much as when packets are lost. Destroy ends it as
// well; Stop does not, before its limit.
func (n *Node) Pause() error {
	stopped := map[int]bool{}
	for more := true; more; {
		more = false
		for _, pid := range n.everything() { // the agent first: it starts the others
			if stopped[pid] {
				continue
			}
			if err := signal(pid, syscall.SIGSTOP); err != nil {
				return fmt.Errorf("node %s: %w", n.ID, err)
			}
			stopped[pid], more = true, true
		}
	}
	return nil
}

// Resume undoes Pause.
func (n *Node) Resume() error {
	pids := n.everything()
	slices.Reverse(pids) // the agent last: it finds its units running
	for _, pid := range pids {
		if err := signal(pid, syscall.SIGCONT); err != nil {
			return fmt.Errorf("node %s: %w", n.ID, err)
		}
	}
	return nil
}

// everything is the agent, when it runs, and the processes of its units.
func (n *Node) everything() []int {
	pids := n.Processes()
	if pid := n.PID(); pid != 0 {
		pids = append([]int{pid}, pids...)
	}
	return pids
}

func signal(pid int, s syscall.Signal) error {
	err := syscall.Kill(pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
