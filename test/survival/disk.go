package survival

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"
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

// resize gives the small disks another size.
func (c *Cluster) resize(bytes int64) error {
	var errs []error
	for _, place := range c.mounts {
		errs = append(errs, syscall.Mount("tmpfs", place, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", bytes)))
	}
	return errors.Join(errs...)
}

// tighten leaves the small disks with a few bytes that are free.
func (c *Cluster) tighten(free int64) error {
	var errs []error
	for _, place := range c.mounts {
		var now syscall.Statfs_t
		if err := syscall.Statfs(place, &now); err != nil {
			return err
		}
		errs = append(errs, c.resize(int64(now.Blocks-now.Bfree)*now.Bsize+free))
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

// The small disk has room for the log that etcd allocates, 64 MB, and not for the database beside it.
const (
	smallDisk = 72 << 20
	largeDisk = 1 << 30 // of which it takes what is written, in memory
	filled    = 40 << 20
)

// fill writes what the small disk has no room for.
func (c *Cluster) fill(ctx context.Context, client *clientv3.Client) {
	c.t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range filled >> 20 {
		value := make([]byte, 1<<20)
		for j := range value {
			value[j] = byte('a' + random.IntN(26))
		}
		if _, err := client.Put(ctx, fmt.Sprintf("/test/large/%d", i), string(value)); err != nil {
			c.t.Fatal(err)
		}
	}
}
