package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"rekindle/agent/apply"
)

// File is a file to be written.
type File = apply.File

// syncsAtOnce lets the file system commit many small files together: 60 of them took 16 to 35 ms on ext4, one by one 30 to 43.
const syncsAtOnce = 16

// readWhole are the directories of which something else reads every file, and so must not see a temporary one.
var readWhole = []string{"/etc/kubernetes/manifests"}

// Write puts files in place. All are staged beside their places and made durable, then all are renamed, then their
// directories are made durable: whoever reads a file sees the old or the new one, also after a power cut. Files that
// are as they should be are left alone. A link is replaced, not followed, and so is an empty directory, such as the
// container runtime makes for a mount that it does not find. It returns the paths that changed, also with an error.
func (h *Host) Write(ctx context.Context, files ...File) (written []string, err error) {
	staged := make([]*stagedFile, len(files))
	defer func() {
		for _, s := range staged {
			if s != nil && s.temp != "" {
				os.Remove(s.temp)
			}
		}
	}()
	group, stageCtx := errgroup.WithContext(ctx)
	group.SetLimit(syncsAtOnce)
	for i, f := range files {
		group.Go(func() (err error) {
			staged[i], err = h.stage(stageCtx, f)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for _, s := range staged {
		if s == nil {
			continue
		}
		if err := s.rename(); err != nil {
			return written, errors.Join(explain(s.path, err), syncDirs(dirs))
		}
		written = append(written, s.path)
		dirs[filepath.Dir(s.real)] = path.Dir(s.path)
	}
	return written, syncDirs(dirs)
}

type stagedFile struct {
	path string // on the machine
	real string // where it goes
	from string // what is renamed
	temp string // what is to be removed if that does not come to pass
}

// stage prepares a file; nil when it is in place already.
func (h *Host) stage(ctx context.Context, f File) (*stagedFile, error) {
	real, err := h.place(f.Path)
	if err != nil {
		return nil, err
	}
	if f.Move {
		return &stagedFile{path: f.Path, real: real, from: f.From}, nil
	}
	if f.From == "" && same(real, f) {
		return nil, nil
	}
	temp, err := h.temp(f.Path)
	if err != nil {
		return nil, err
	}
	s := &stagedFile{path: f.Path, real: real, from: temp, temp: temp}
	if err := fill(ctx, temp, f); err != nil {
		return s, explain(f.Path, err)
	}
	return s, nil
}

func same(real string, f File) bool {
	info, err := os.Lstat(real)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(f.Content)) || entryOf(info).Mode != f.Mode {
		return false
	}
	content, err := os.ReadFile(real)
	return err == nil && bytes.Equal(content, f.Content)
}

// fill writes the temporary file. It is private until it is complete.
func fill(ctx context.Context, temp string, f File) (err error) {
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if f.From != "" {
		in, err := os.Open(f.From)
		if err != nil {
			return err
		}
		defer in.Close()
		if err := copyUnder(ctx, out, in); err != nil {
			return err
		}
	} else if _, err := out.Write(f.Content); err != nil {
		return err
	}
	if err := unix.Fchmod(int(out.Fd()), uint32(f.Mode)); err != nil { // not through the umask, and after the write, which clears setuid
		return &fs.PathError{Op: "chmod", Path: temp, Err: err}
	}
	if f.Later {
		return nil
	}
	return out.Sync()
}

// rename puts the file in its place.
func (s *stagedFile) rename() error {
	err := os.Rename(s.from, s.real)
	if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENOTEMPTY) {
		if rmdir := syscall.Rmdir(s.real); rmdir != nil {
			return fmt.Errorf("a directory stands where a file belongs (move it away: mv %s %[1]s.aside)", s.path)
		}
		err = os.Rename(s.from, s.real)
	}
	if err == nil {
		s.temp = ""
	}
	return err
}

// temp is the temporary file for p: in its directory, so that it is of the same file system and gets the security
// label that files there have, and with a name that is known after a crash.
func (h *Host) temp(p string) (string, error) {
	dir := path.Dir(p)
	if slices.Contains(readWhole, dir) {
		dir = path.Dir(dir)
	}
	real, err := h.Path(dir)
	if err != nil {
		return "", err
	}
	name := "." + path.Base(p) + ".rekindle"
	if len(name) > 255 {
		sum := sha256.Sum256([]byte(name))
		name = "." + hex.EncodeToString(sum[:]) + ".rekindle"
	}
	return filepath.Join(real, name), nil
}

// Sweep removes what a Write of these paths left when it was cut.
func (h *Host) Sweep(paths ...string) error {
	for _, p := range paths {
		temp, err := h.temp(p)
		if err != nil {
			continue // its directory is gone or something else now, and the temporary file with it
		}
		if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return explain(p, err)
		}
	}
	return nil
}

// Sync makes files durable that were written with Later.
func (h *Host) Sync(ctx context.Context, paths ...string) error {
	var group errgroup.Group
	group.SetLimit(syncsAtOnce)
	for _, p := range paths {
		group.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			real, err := h.Path(p)
			if err != nil {
				return err
			}
			return explain(p, syncPath(real))
		})
	}
	return group.Wait()
}

func syncDirs(dirs map[string]string) error {
	var group errgroup.Group
	group.SetLimit(syncsAtOnce)
	for real, p := range dirs {
		group.Go(func() error { return explain(p, syncPath(real)) })
	}
	return group.Wait()
}

// syncPath makes a file or a directory durable. Some file systems cannot do it for a directory, and need not.
func syncPath(real string) error {
	f, err := os.Open(real)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
