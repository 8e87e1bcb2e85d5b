package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Processes are the PIDs of everything that runs in the instance beside its agent, by what they have in their
// environment: the runner of units sets REKINDLE_ROOT.
func (n *Node) Processes() []int { return processes(n.Root) }

func processes(root string) []int {
	marker := []byte("REKINDLE_ROOT=" + root)
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
		for variable := range bytes.SplitSeq(environ, []byte{0}) {
			if bytes.Equal(variable, marker) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// killAll ends the processes of a root until there are none: one may start another while it is being killed.
func killAll(root string) error {
	for range 200 {
		pids := processes(root)
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
	return errors.New("processes of " + root + " cannot be killed")
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
