package bake

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rekindle/agent/apply"
	"rekindle/agent/host"
)

// dated is a host whose new files are not younger than a time. They get it before the engine takes their stamps, which
// a later change would void.
type dated struct {
	*host.Host
	at time.Time
}

// Write implements apply.Host.
func (d *dated) Write(ctx context.Context, files ...apply.File) ([]string, error) {
	written, err := d.Host.Write(ctx, files...)
	for _, p := range written {
		real, pathErr := d.Path(p)
		if pathErr == nil {
			pathErr = d.clamp(real)
		}
		err = errors.Join(err, pathErr)
	}
	return written, err
}

// clamp gives a younger file, directory or link the time.
func (d *dated) clamp(real string) error {
	if d.at.IsZero() {
		return nil
	}
	info, err := os.Lstat(real)
	if err != nil || !info.ModTime().After(d.at) {
		return err
	}
	at := unix.NsecToTimespec(d.at.UnixNano())
	err = unix.UtimesNanoAt(unix.AT_FDCWD, real, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &fs.PathError{Op: "utimes", Path: real, Err: err}
	}
	return nil
}

// clamp sets the times of the whole image, without other file systems. The cache has stamps that a change would void,
// and containerd's store is its own.
func (b *baker) clamp(ctx context.Context) error {
	if b.Dry || b.Time.IsZero() {
		return nil
	}
	root := b.host.Root()
	var dirs []string
	err := filepath.WalkDir(root, func(real string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // of somebody else's, gone in between
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case entry.IsDir():
			other, err := otherFileSystem(root, real)
			if err != nil {
				return gone(err)
			}
			if other || untouchable["/"+strings.TrimPrefix(strings.TrimPrefix(real, root), "/")] {
				return fs.SkipDir
			}
			dirs = append(dirs, real)
			return nil
		}
		return gone(b.host.clamp(real))
	})
	for _, dir := range dirs {
		err = errors.Join(err, gone(b.host.clamp(dir)))
	}
	return err
}

// untouchable are directories whose files keep their times.
var untouchable = map[string]bool{"/var/lib/rekindle/cache": true, "/var/lib/containerd": true}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// otherFileSystem tells whether a directory is not on the root's file system.
func otherFileSystem(root, real string) (bool, error) {
	var top, here syscall.Stat_t
	if err := errors.Join(syscall.Stat(root, &top), syscall.Lstat(real, &here)); err != nil {
		return false, err
	}
	return top.Dev != here.Dev, nil
}
