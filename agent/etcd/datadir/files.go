package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Where etcd keeps what in its data directory.
func memberDir(data string) string { return filepath.Join(data, "member") }
func snapDir(data string) string   { return filepath.Join(data, "member", "snap") }
func walDir(data string) string    { return filepath.Join(data, "member", "wal") }
func dbPath(data string) string    { return filepath.Join(data, "member", "snap", "db") }

// errIrregular is about what stands where a file belongs: a directory, a pipe, a device.
var errIrregular = errors.New("is no regular file")

// openRegular opens a file to read. Unlike os.Open it does not wait for somebody to write into a pipe.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errIrregular}
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errIrregular}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// readSmall reads a file whole, if it has at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	file, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return data, err
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// hollow tells whether a directory is missing, or has nothing but directories in it.
func hollow(dir string) (bool, error) {
	_, files, err := weigh(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil && files == 0, err
}

// weigh adds up what is under a directory and is none itself. (etcd tries with a file named .touch whether it may write,
// and may have been cut there.)
func weigh(dir string) (bytes int64, files int, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return ignoreAbsent(err)
		}
		if entry.IsDir() || entry.Name() == ".touch" {
			return nil
		}
		files++
		info, err := entry.Info()
		if err != nil {
			return ignoreAbsent(err)
		}
		bytes += info.Size()
		return nil
	})
	return bytes, files, err
}

func syncDir(dir string) error { return syncPath(dir) }

// syncPath makes a file or a directory durable.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// syncTree makes everything under a directory durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() && !entry.Type().IsRegular() {
			return err
		}
		return syncPath(path)
	})
}
