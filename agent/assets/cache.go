package assets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rekindle/agent/status"
)

// cache is the directory that verified objects live in, by their sha256:
//
//	objects/<sha256>               an object, complete and verified
//	objects/<sha256>.stamp         what the object's inode looked like when it was verified
//	objects/<sha256>.part          an object in the making; whoever writes it holds a lock on it
//	objects/<sha256>.part.chunks   one byte per chunk of it: 1 when the chunk was written
//	lock                           held shared by those who fetch, exclusively by those who prune
//
// Several processes may use one cache at a time.
type cache struct {
	dir    string
	boot   string // the kernel's id of this boot
	opened time.Time
}

func openCache(dir string) (*cache, error) {
	if err := os.MkdirAll(filepath.Join(dir, "objects"), 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return &cache{dir, strings.TrimSpace(string(boot)), time.Now()}, nil
}

// name is the object's name in the cache. An object of an unverified prefix has no digest, so its name is made of
// what identifies its content: a changed ETag gives a new name.
func (o Object) name() string {
	if o.SHA256 != "" {
		return o.SHA256
	}
	return "unverified-" + sha256Of(fmt.Appendf(nil, "%s\x00%d\x00%s", o.Path, o.Size, o.ETag))
}

func (c *cache) file(o Object) string { return filepath.Join(c.dir, "objects", o.name()) }

// has reports whether the object is there and untouched since it was verified, which its stamp tells without reading
// it: a warm boot hashes nothing. An object that was not synced yet counts in the boot that wrote it.
func (c *cache) has(o Object) bool {
	valid, boot := c.stampOf(o)
	return valid && (boot == "" || boot == c.boot)
}

// unsettled reports whether the object is there, but a crash could still take it.
func (c *cache) unsettled(o Object) bool {
	valid, boot := c.stampOf(o)
	return valid && boot != "" && boot == c.boot
}

// stampOf reports whether the object is still what was stamped, and the boot outside of which that means nothing.
func (c *cache) stampOf(o Object) (valid bool, boot string) {
	now, err := stamp(c.file(o))
	if err != nil {
		return false, ""
	}
	data, err := os.ReadFile(c.file(o) + ".stamp")
	if err != nil {
		return false, ""
	}
	then, boot, _ := strings.Cut(strings.TrimSpace(string(data)), " boot=")
	return untouched(then, now), boot
}

// stamped records that the object was verified as it is now, and whether it is on disk.
func (c *cache) stamped(o Object, synced bool) error {
	now, err := stamp(c.file(o))
	if err != nil {
		return err
	}
	if !synced {
		now += " boot=" + c.boot
	}
	// Not synced itself: a stamp that a crash loses costs one reading of the object.
	return replaceFile(c.file(o)+".stamp", []byte(now+"\n"), 0o644, false)
}

// stamp is what changes when a file's content does; what a copied or restored file cannot keep is its ctime.
func stamp(path string) (string, error) {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return "", &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return fmt.Sprintf("1 size=%d mtime=%d inode=%d links=%d ctime=%d", s.Size, s.Mtim.Nano(), s.Ino, s.Nlink, s.Ctim.Nano()), nil
}

// untouched compares two stamps. A hard link, which an image builder may make, changes the ctime and not the content;
// then the count of links tells why.
func untouched(then, now string) bool {
	if then == now {
		return true
	}
	file, change, _ := strings.Cut(then, " links=")
	fileNow, changeNow, _ := strings.Cut(now, " links=")
	links, _, _ := strings.Cut(change, " ")
	linksNow, _, _ := strings.Cut(changeNow, " ")
	return file == fileNow && links != linksNow
}

// settle brings an object that was written without it to the disk.
func (c *cache) settle(o Object) error {
	f, err := os.Open(c.file(o))
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = syncDir(filepath.Dir(c.file(o)))
	}
	if err == nil {
		err = c.stamped(o, true)
	}
	return diskError(c, o, err)
}

// lock takes the cache's lock, shared or exclusive, waiting for it until ctx ends.
func (c *cache) lock(ctx context.Context, how int) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if !tryLock(f, how) {
		defer status.Waiting(ctx, "assets: cache lock", "another process to finish with "+c.dir)()
		for !tryLock(f, how) {
			if err := pause(ctx, jitter(100*time.Millisecond)); err != nil {
				return nil, errors.Join(fmt.Errorf("cache: %s is locked by another process: %w", c.dir, err), f.Close())
			}
		}
	}
	return func() { f.Close() }, nil
}

func tryLock(f *os.File, how int) bool { return syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB) == nil }

// prune removes every object whose name is not in keep, and reports how many bytes that freed. A part that somebody
// is writing stays.
func (c *cache) prune(ctx context.Context, keep map[string]bool) (freed int64, err error) {
	unlock, err := c.lock(ctx, syscall.LOCK_EX)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if err := c.sweep(); err != nil {
		return 0, fmt.Errorf("cache: %w", err)
	}
	entries, err := os.ReadDir(filepath.Join(c.dir, "objects"))
	if err != nil {
		return 0, fmt.Errorf("cache: %w", err)
	}
	for _, entry := range entries {
		name, _, _ := strings.Cut(entry.Name(), ".")
		if keep[name] {
			continue
		}
		if info, err := entry.Info(); err == nil {
			freed += info.Size()
		}
		if err := os.Remove(filepath.Join(c.dir, "objects", entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, fmt.Errorf("cache: %w", err)
		}
	}
	return freed, nil
}

// sweep removes the temporary files of processes that were killed: those from before this one opened the cache.
func (c *cache) sweep() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !strings.HasPrefix(entry.Name(), tempPrefix) || !info.ModTime().Before(c.opened) {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// tempPrefix begins the names of files that are not complete.
const tempPrefix = ".new-"

// replaceFile writes a small file whole or not at all.
func replaceFile(path string, data []byte, mode fs.FileMode, durable bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && durable {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if durable {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
