package restore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"rekindle/agent/etcd/delta"
)

// verify looks at what was made as etcd will, while it is on its way to the disk.
func (b *build) verify(db *database) error {
	if err := b.step("sync db"); err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error {
		start := time.Now()
		defer func() { b.result.Took.Sync = time.Since(start) }()
		return db.Sync()
	})
	g.Go(func() error { return db.View(b.verifyTx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("%s: %w", db.path, err)
	}
	return b.verifyLog()
}

// verifyTx is bbolt's own check, and what etcdserver would find.
func (b *build) verifyTx(tx *bbolt.Tx) error {
	var problems []error
	for err := range tx.Check() {
		if len(problems) < 10 {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return corrupt("after the restore: %w", errors.Join(problems...))
	}
	at, err := delta.Revision(tx)
	if err != nil {
		return err
	}
	if at != b.result.Revision {
		return fmt.Errorf("it is at revision %d after the restore; want %d", at, b.result.Revision)
	}
	meta := tx.Bucket(schema.Meta.Name())
	index, term := meta.Get(schema.MetaConsistentIndexKeyName), meta.Get(schema.MetaTermKeyName)
	if len(index) != 8 || len(term) != 8 || binary.BigEndian.Uint64(index) != firstIndex || binary.BigEndian.Uint64(term) != firstTerm {
		return fmt.Errorf("consistent index %x, term %x after the restore", index, term)
	}
	b.result.Keys = int64(tx.Bucket(schema.Key.Name()).Stats().KeyN)
	b.result.Bytes = tx.Size()
	return nil
}

// verifyLog reads the log as etcd does when it starts.
func (b *build) verifyLog() error {
	found, err := wal.ValidSnapshotEntries(zap.NewNop(), b.walDir())
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	last := found[len(found)-1] // there is always the empty one
	state, err := wal.Verify(zap.NewNop(), b.walDir(), last)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if last.Index != firstIndex || state.Commit != firstIndex || state.Term != firstTerm {
		return fmt.Errorf("log: snapshot at %d, commit %d, term %d", last.Index, state.Commit, state.Term)
	}
	return nil
}

// publish brings all of Part to the disk and gives it its name.
func (b *build) publish() error {
	if err := b.syncTree(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := b.step("rename Part"); err != nil {
		return err
	}
	if err := rename(b.Part, b.Dir); err != nil {
		return err
	}
	if err := b.step("sync parent"); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(b.Dir)); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func (b *build) syncTree() error {
	var dirs []string
	err := filepath.WalkDir(b.Part, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		if err := b.step("sync " + entry.Name()); err != nil {
			return err
		}
		return syncDir(path)
	})
	for i := len(dirs) - 1; err == nil && i >= 0; i-- { // a directory after what is in it
		if err = b.step("sync " + filepath.Base(dirs[i])); err == nil {
			err = syncDir(dirs[i])
		}
	}
	return err
}

// rename never replaces what is there, not even an empty directory.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can
		return os.Rename(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
