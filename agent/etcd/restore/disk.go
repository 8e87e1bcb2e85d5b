package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"
)

// diskError is one that no other try at the store mends.
type diskError struct{ error }

func (e *diskError) Unwrap() error { return e.error }

func disk(err error) error {
	if err == nil {
		return nil
	}
	return &diskError{err}
}

func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// need is how much space a database of size bytes takes: bbolt grows it when it writes, and etcd keeps two log files of 64 MiB.
func need(size int64) int64 { return size + size/20 + 2*wal.SegmentSizeBytes }

// begin makes an empty Part, if there are so many bytes of room.
func (b *build) begin(room int64) error {
	b.needed = room
	if _, err := os.Lstat(b.Dir); err == nil {
		return errors.New("it exists; set it aside first")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return disk(err)
	}
	if err := b.step("remove Part"); err != nil {
		return disk(err)
	}
	if err := os.RemoveAll(b.Part); err != nil {
		return disk(err)
	}
	if err := b.sameDisk(); err != nil {
		return err
	}
	free, err := b.free(filepath.Dir(b.Part))
	if err != nil {
		return disk(err)
	}
	if free < b.needed {
		return disk(syscall.ENOSPC)
	}
	if err := b.step("make Part"); err != nil {
		return disk(err)
	}
	return disk(os.MkdirAll(b.snapDir(), 0o700))
}

// sameDisk tells before the work what the rename would tell after it.
func (b *build) sameDisk() error {
	var dir, part unix.Stat_t
	if err := unix.Stat(filepath.Dir(b.Dir), &dir); err != nil {
		return disk(&os.PathError{Op: "stat", Path: filepath.Dir(b.Dir), Err: err})
	}
	if err := unix.Stat(filepath.Dir(b.Part), &part); err != nil {
		return disk(&os.PathError{Op: "stat", Path: filepath.Dir(b.Part), Err: err})
	}
	if dir.Dev != part.Dev {
		return disk(fmt.Errorf("%s is on another file system: it could not be renamed", b.Part))
	}
	return nil
}

// full says what to do when err is a full disk.
func (b *build) full(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	left := "unknown"
	if free, problem := b.free(filepath.Dir(b.Part)); problem == nil {
		left = fmt.Sprintf("%d MiB", free>>20)
	}
	return fmt.Errorf("%w: %s needs %d MiB, and free are %s: enlarge the volume or free space", err, b.Part, b.needed>>20+1, left)
}

// create makes the database file, with its blocks, so that a full disk shows now.
func (b *build) create(size int64) (_ *os.File, err error) {
	if err := b.step("create db"); err != nil {
		return nil, disk(err)
	}
	file, err := os.OpenFile(b.dbFile(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, disk(err)
	}
	if err = b.step("allocate db"); err == nil {
		err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = file.Truncate(size)
	}
	if err != nil {
		return nil, errors.Join(disk(fmt.Errorf("%s: %w", b.dbFile(), err)), file.Close())
	}
	return file, nil
}

// take puts a database file into Part: the file itself, a clone that shares its blocks, or a copy.
func (b *build) take(ctx context.Context, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return disk(err)
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return disk(err)
	}
	if !info.Mode().IsRegular() {
		return disk(fmt.Errorf("%s: no file", path))
	}
	// As bbolt does: whoever has it open holds the other lock. A renamed file keeps this one until it is ours alone.
	if err := unix.Flock(int(from.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return disk(fmt.Errorf("%s: %w: stop the etcd that uses it", path, err))
	}
	room := need(info.Size())
	if b.Move {
		room -= info.Size()
	}
	if err := b.begin(room); err != nil {
		return err
	}
	b.Progress(0, info.Size())
	if err := b.step("take db"); err != nil {
		return disk(err)
	}
	if !b.Move || os.Rename(path, b.dbFile()) != nil {
		err = b.copy(ctx, from)
	}
	if err == nil && info.Size()%512 == sha256.Size {
		err = b.cutSum(info.Size() - sha256.Size)
	}
	b.Progress(info.Size(), info.Size())
	return disk(err)
}

func (b *build) copy(ctx context.Context, from *os.File) (err error) {
	to, err := os.OpenFile(b.dbFile(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	for { // in steps, so that ctx can end it; the kernel copies
		n, err := io.CopyN(to, from, 64<<20)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if offset, err := to.Seek(0, io.SeekCurrent); err == nil {
			_ = unix.SyncFileRange(int(to.Fd()), offset-n, n, unix.SYNC_FILE_RANGE_WRITE) // a hint
		}
	}
}

// cutSum compares the sum at the end of a snapshot with the size bytes before it, and cuts it off.
func (b *build) cutSum(size int64) (err error) {
	file, err := os.OpenFile(b.dbFile(), os.O_RDWR, 0)
	if err != nil {
		return disk(err)
	}
	defer func() { err = errors.Join(err, disk(file.Close())) }()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(file, 0, size)); err != nil {
		return disk(err)
	}
	var sum [sha256.Size]byte
	if _, err := file.ReadAt(sum[:], size); err != nil {
		return disk(err)
	}
	if [sha256.Size]byte(h.Sum(nil)) != sum {
		return corrupt("the sum at the end of the snapshot is not that of its bytes")
	}
	return disk(file.Truncate(size))
}
