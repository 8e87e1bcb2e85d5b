package assets

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// errRefused marks an archive that asks for something that is never done.
var errRefused = errors.New("refused")

func refuse(name, format string, args ...any) error {
	return fmt.Errorf("%w: %q %s", errRefused, name, fmt.Sprintf(format, args...))
}

// untar writes the archive below root. Every step goes through os.Root, so not even a link that the archive made itself
// can lead a later entry outside; what is checked beyond that are links as others will follow them later.
func untar(archive io.Reader, root *os.Root, limits Limits) error {
	u := &untarrer{root: root, left: limits.Bytes, made: make(map[string]fs.FileMode), dirs: make(map[string]fs.FileMode),
		buffer: make([]byte, bufferSize)}
	headers := tar.NewReader(archive)
	for count := 0; ; count++ {
		header, err := headers.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if count >= limits.Entries {
			return refuse(header.Name, "is one more than %d entries", limits.Entries)
		}
		if err := u.entry(header, headers); err != nil {
			return err
		}
	}
	if err := u.checkLinks(); err != nil {
		return err
	}
	return u.setDirModes()
}

type untarrer struct {
	root *os.Root
	left int64                  // bytes that may still be written
	made map[string]fs.FileMode // by path: type bits
	dirs map[string]fs.FileMode // permissions, set when nothing is written below any more

	buffer []byte
}

func (u *untarrer) entry(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := entryName(header.Name)
	if err != nil || name == "." {
		return err
	}
	if dir := path.Dir(name); dir != "." {
		if err := u.root.MkdirAll(dir, 0o755); err != nil {
			return u.refused(name, err)
		}
	}
	if was, ok := u.made[name]; ok && !(was.IsDir() && header.Typeflag == tar.TypeDir) { // as tar does, the later one counts
		if err := u.root.Remove(name); err != nil {
			return u.refused(name, err)
		}
		delete(u.made, name)
	}
	return u.refused(name, u.make(name, header, content))
}

func (u *untarrer) make(name string, header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeDir:
		u.made[name] = fs.ModeDir
		u.dirs[name] = header.FileInfo().Mode().Perm() | 0o700
		return u.root.MkdirAll(name, 0o755)
	case tar.TypeReg, tar.TypeGNUSparse:
		u.made[name] = 0
		return u.file(name, header, content)
	case tar.TypeSymlink:
		u.made[name] = fs.ModeSymlink
		return u.symlink(name, header.Linkname)
	case tar.TypeLink:
		target, err := entryName(header.Linkname)
		if err != nil {
			return err
		}
		if was, ok := u.made[target]; !ok || was != 0 {
			return refuse(name, "is a hard link to %q, which is no file of the archive", header.Linkname)
		}
		u.made[name] = 0
		return u.root.Link(target, name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return refuse(name, "is a device or a pipe")
	}
	return refuse(name, "is of the unknown type %q", header.Typeflag)
}

func (u *untarrer) file(name string, header *tar.Header, content io.Reader) error {
	if header.Size > u.left {
		return refuse(name, "exceeds the limit of bytes")
	}
	u.left -= header.Size
	mode := header.FileInfo().Mode().Perm() | 0o400
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{content}, u.buffer)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return u.root.Chtimes(name, header.ModTime, header.ModTime)
}

// symlink allows what stays inside as written. That is not enough, since a link may go through another one:
// checkLinks looks at where they lead in the end.
func (u *untarrer) symlink(name, target string) error {
	if target == "" || path.IsAbs(target) {
		return refuse(name, "is a link to the absolute path %q", target)
	}
	if !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return refuse(name, "is a link that leads outside, to %q", target)
	}
	return u.root.Symlink(target, name)
}

// checkLinks follows every link in the finished tree. One that dangles is allowed: it leads nowhere, inside.
func (u *untarrer) checkLinks() error {
	for name, kind := range u.made {
		if kind != fs.ModeSymlink {
			continue
		}
		if _, err := u.root.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return refuse(name, "is a link that leads outside or in a circle: %v", err)
		}
	}
	return nil
}

func (u *untarrer) setDirModes() error {
	for name, mode := range u.dirs {
		if info, err := u.root.Lstat(name); err != nil || !info.IsDir() {
			continue // replaced by a later entry
		}
		if err := u.root.Chmod(name, mode); err != nil {
			return err
		}
	}
	return nil
}

// refused tells an archive that contradicts itself, or the file system's rules, from a disk that fails.
func (u *untarrer) refused(name string, err error) error {
	if err == nil || errors.Is(err, errRefused) {
		return err
	}
	for _, disk := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS} {
		if errors.Is(err, disk) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return refuse(name, "cannot be made: %v", err)
	}
	if _, ok := errors.AsType[*os.LinkError](err); ok {
		return refuse(name, "cannot be linked: %v", err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// entryName is the cleaned name, "." for the root itself.
func entryName(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || !filepath.IsLocal(clean) {
		return "", refuse(name, "leads outside")
	}
	if clean != "." {
		if err := checkPath(clean); err != nil {
			return "", refuse(name, "%v", err)
		}
	}
	return clean, nil
}
