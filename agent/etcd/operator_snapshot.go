package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
)

// Saved is a snapshot that was written to a file.
type Saved struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"` // bytes, with the sum at its end
	SHA256   string `json:"sha256"`
	Version  string `json:"version"`  // of the etcd that sent it
	Revision int64  `json:"revision"` // of the member when it was asked: the snapshot has at least this
}

const (
	sumSize = sha256.Size
	// stallLimit is how long etcd may send nothing.
	stallLimit = 30 * time.Second
)

// Save writes a snapshot of one member to a file that does not exist yet, as `etcdctl snapshot save` does: the database, and then
// its SHA-256, which is compared. The file is there, whole, when Save returns without an error, and not at all otherwise.
func Save(ctx context.Context, from backup.Source, path string, progress func(done, total int64)) (saved Saved, err error) {
	if _, err := os.Lstat(path); err == nil {
		return saved, fmt.Errorf("%s exists: give another name", path)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("etcd has sent nothing for %s", stallLimit)) })
	defer stall.Stop()
	status, err := from.Status(ctx, from.Endpoints()[0])
	if err != nil {
		return saved, because(ctx, err)
	}
	part, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".part-")
	if err != nil {
		return saved, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("snapshot: %w", because(ctx, err)), os.Remove(part.Name()))
		}
	}()
	defer part.Close()
	answer, err := from.SnapshotWithVersion(ctx)
	if err != nil {
		return saved, err
	}
	defer answer.Snapshot.Close()
	sum := &trailing{hash: sha256.New()}
	_, err = io.Copy(io.MultiWriter(part, sum, moved(func(done int64) {
		stall.Reset(stallLimit)
		progress(done, max(done, status.DbSize))
	})), answer.Snapshot)
	if err == nil {
		err = sum.check()
	}
	if err == nil {
		err = errors.Join(part.Sync(), part.Close())
	}
	if err == nil {
		err = renameNew(part.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return Saved{Path: path, Size: sum.size, SHA256: fmt.Sprintf("%x", sum.last), Version: status.Version, Revision: status.Header.Revision}, err
}

// renameNew replaces nothing, where the file system can promise that.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return os.Rename(from, to)
	}
	return err
}

// because is why ctx ended, if it did.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// moved is told how many bytes there were.
func moved(tell func(done int64)) io.Writer { return &movement{tell: tell} }

type movement struct {
	done int64
	tell func(int64)
}

func (m *movement) Write(p []byte) (int, error) {
	m.done += int64(len(p))
	m.tell(m.done)
	return len(p), nil
}

// trailing sums up a stream but for its last bytes, which are its sum.
type trailing struct {
	hash hash.Hash
	last []byte
	size int64
}

func (t *trailing) Write(p []byte) (int, error) {
	t.size += int64(len(p))
	t.last = append(t.last, p...)
	if n := len(t.last) - sumSize; n > 0 {
		_, _ = t.hash.Write(t.last[:n]) // never an error
		t.last = append(t.last[:0], t.last[n:]...)
	}
	return len(p), nil
}

func (t *trailing) check() error {
	if t.size%512 != sumSize {
		return fmt.Errorf("%d bytes came, which is no whole database with its sum: try again", t.size)
	}
	if !bytes.Equal(t.last, t.hash.Sum(nil)) {
		return errors.New("the sum at the end is not that of what came before: try again")
	}
	return nil
}

// Fence tells whether a backup under a record may still count: the record must have its generation, and be running.
func (o *Operator) Fence(record *Lineage) func(context.Context) error {
	return func(ctx context.Context) error {
		now, _, err := o.keeper("").read(ctx, o.Cluster)
		if err != nil {
			return fmt.Errorf("lineage: %w", err)
		}
		if now.UID != record.UID || now.Generation != record.Generation || now.State != Running {
			return delta.ErrFenced
		}
		return nil
	}
}
