package agent

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"rekindle/agent/status"
)

// lockPath is beside status.json: it goes with the boot.
const lockPath = "/run/rekindle/agent.lock"

// lock keeps a second agent off this node: two that apply at once would undo each other's work. The kernel lets go of it
// when the process ends, however it ends.
func (a *Agent) lock() (unlock func(), err error) {
	if err := a.host.MkdirAll(path.Dir(lockPath)); err != nil {
		return nil, err
	}
	real, err := a.host.Path(lockPath)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Clean(real), os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = errors.Join(err, file.Close())
		return nil, status.Fail(status.ReasonApplyFailed, "see what it does: rekindle status",
			fmt.Errorf("another rekindle runs on this node already: %s: %w", lockPath, err))
	}
	return func() { _ = file.Close() }, nil
}
