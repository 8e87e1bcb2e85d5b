package survival

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Small gives a root a disk of a few bytes for etcd. It needs root.
func (c *Cluster) Small(root string, bytes int64) error {
	place := filepath.Join(root, "var/lib/etcd")
	if err := os.MkdirAll(place, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", place, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	c.mounts = append(c.mounts, place)
	return nil
}

// Grow makes all small disks larger.
func (c *Cluster) Grow(bytes int64) error {
	var errs []error
	for _, place := range c.mounts {
		errs = append(errs, syscall.Mount("tmpfs", place, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", bytes)))
	}
	return errors.Join(errs...)
}

func (c *Cluster) unmount() {
	for _, place := range c.mounts {
		if err := syscall.Unmount(place, syscall.MNT_DETACH); err != nil {
			c.t.Errorf("%s: %v", place, err)
		}
	}
}
