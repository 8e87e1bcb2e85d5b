package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// errBusy: etcd runs on the data.
var errBusy = errors.New("etcd runs on it")

// busy tells whether a process has the data open to write. It never waits, and takes no lock for longer than an instant
// that etcd's start would survive: of the log, where etcd gives up at once, it only asks who has it.
func busy(data string) (bool, error) {
	guard, err := share(dbPath(data))
	switch {
	case errors.Is(err, errBusy):
		return true, nil
	case err == nil:
		guard.Close()
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errIrregular) && !errors.Is(err, unix.ENOTDIR):
		return false, err
	}
	names, err := filepath.Glob(filepath.Join(walDir(data), "*.wal"))
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if locked, err := locked(name); locked || err != nil {
			return locked, err
		}
	}
	return false, nil
}

// share takes a shared lock of a database, which keeps etcd from starting on it until the file is closed.
func share(path string) (*os.File, error) {
	file, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errBusy
	}
	return nil, fmt.Errorf("%s: lock: %w", path, err)
}

// locked tells whether somebody holds etcd's kind of lock of a log file.
func locked(path string) (bool, error) {
	file, err := openRegular(path)
	if errors.Is(err, errIrregular) {
		return false, nil
	}
	if err != nil {
		return false, ignoreAbsent(err)
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, fmt.Errorf("%s: lock: %w", path, err)
	}
	return lock.Type != unix.F_UNLCK, nil
}
