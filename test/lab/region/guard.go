package region

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// guard is a process that ends the instances of a region whose own process was killed: agents and units outlive it, would go
// on as a cluster without AWS, and hold addresses and ports that another region needs.
type guard struct {
	cmd  *exec.Cmd
	open *os.File // while this process has it open, the guard waits
}

func startGuard(standin, dir string) (*guard, error) {
	in, open, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	g := &guard{open: open, cmd: &exec.Cmd{
		Path: standin, Args: []string{"lab-guard", filepath.Clean(dir)}, Env: []string{}, Stdin: in, Dir: "/",
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // what is sent to the group of this process is not for it
	}}
	if err := g.cmd.Start(); err != nil {
		return nil, errors.Join(err, open.Close())
	}
	return g, nil
}

// Close returns when nothing of the region runs.
func (g *guard) Close() error {
	if err := errors.Join(g.open.Close(), g.cmd.Wait()); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	return nil
}
