package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"rekindle/agent/plan"
)

// Mkdir makes one directory. One that exists gets the mode.
func (h *Host) Mkdir(p string, mode plan.Mode) error {
	real, err := h.place(p)
	if err != nil {
		return err
	}
	if err := os.Mkdir(real, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return explain(p, err)
	}
	return h.Chmod(p, mode)
}

// Chmod gives a file or directory its mode.
func (h *Host) Chmod(p string, mode plan.Mode) error {
	real, err := h.Path(p)
	if err != nil {
		return err
	}
	if err := unix.Chmod(real, uint32(mode)); err != nil {
		return explain(p, &fs.PathError{Op: "chmod", Path: real, Err: err})
	}
	return nil
}

// MkdirAll makes a directory and those above it that are missing, with the mode 0755 irrespective of the umask.
func (h *Host) MkdirAll(p string) error {
	real, err := h.Path(p)
	if err != nil || real == h.root {
		return err
	}
	if info, err := os.Stat(real); err == nil && info.IsDir() {
		return nil
	}
	if err := h.MkdirAll(parent(p)); err != nil {
		return err
	}
	if err := os.Mkdir(real, 0o755); errors.Is(err, fs.ErrExist) {
		if info, err := os.Stat(real); err == nil && info.IsDir() { // somebody was faster
			return nil
		}
		return explain(p, err)
	} else if err != nil {
		return explain(p, err)
	}
	return explain(p, unix.Chmod(real, 0o755))
}

// Remove removes a file, a link or an empty directory. A directory that is not empty stays, without an error.
func (h *Host) Remove(p string) error {
	real, err := h.place(p)
	if err != nil {
		return err
	}
	if real == h.root {
		return fmt.Errorf("path %q: is the root", p)
	}
	err = os.Remove(real)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	return explain(p, err)
}

// RemoveAll removes a directory that only the agent has used, with all that is in it.
func (h *Host) RemoveAll(p string) error {
	real, err := h.place(p)
	if err != nil {
		return err
	}
	if real == h.root {
		return fmt.Errorf("path %q: is the root", p)
	}
	return explain(p, os.RemoveAll(real))
}
