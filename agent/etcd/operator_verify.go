package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/etcd/restore"
	"rekindle/agent/store"
)

// Checked is what became of a backup that was read back.
type Checked struct {
	Backup   string   `json:"backup"`
	Revision int64    `json:"revision"`
	Reaches  int64    `json:"reaches"` // as far as its sound deltas lead
	Deltas   int      `json:"deltas"`
	Chunks   int      `json:"chunks"`
	Bytes    int64    `json:"bytes"`   // of the database
	Damaged  []string `json:"damaged"` // what is wrong, one line each; empty: it is sound
	// Restored is the revision that a restore came to, its raise not counted; 0: none was tried.
	Restored int64    `json:"restored,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Verify reads every byte of a backup: manifest, chunks, and each delta, which must be whole, of this lineage, and follow the one
// before. What is damaged is in the result; an error means that nobody knows. progress, which may be nil, is told the bytes read.
func (o *Operator) Verify(ctx context.Context, entry backup.Entry, progress func(done, total int64)) (Checked, error) {
	c := Checked{Backup: entry.ID, Revision: entry.Revision, Reaches: entry.Reaches(), Damaged: []string{}}
	blobs := &counted{Store: o.Store, told: progress, total: entry.Snapshot}
	for _, d := range entry.Deltas {
		blobs.total += d.Stored
	}
	if !entry.Complete {
		c.Damaged = append(c.Damaged, "it is incomplete: it has no manifest, or no snapshot that belongs to it")
		return c, nil
	}
	through := &Operator{Store: blobs, Cluster: o.Cluster, Logger: o.Logger}
	manifest, err := backup.ReadManifest(ctx, o.Store, entry)
	if errors.Is(err, backup.ErrDamaged) {
		c.Damaged = append(c.Damaged, err.Error())
		return c, nil
	}
	if err != nil {
		return c, err
	}
	reached, broken := entry.Revision, false
	report, err := backup.Verify(ctx, blobs, entry, func(ctx context.Context, d backup.DeltaEntry) error {
		err := through.checkDelta(ctx, manifest, d)
		if err != nil {
			broken = true
		} else if d.Base <= reached {
			reached = max(reached, d.Last)
		}
		return err
	})
	if err != nil && !errors.Is(err, backup.ErrDamaged) {
		return c, err
	}
	c.Deltas, c.Chunks, c.Bytes, c.Damaged = report.Deltas, len(manifest.Chunks), manifest.Size, append(c.Damaged, report.Damaged...)
	if broken {
		c.Reaches = reached
	}
	if n := len(report.Stranded); n > 0 {
		c.Damaged = append(c.Damaged, fmt.Sprintf("%d deltas from revision %d on follow nothing: what leads there from revision %d is missing",
			n, report.Stranded[0].Base, report.Reaches))
	}
	return c, nil
}

// checkDelta reads a delta whole, and compares it with where it lies.
func (o *Operator) checkDelta(ctx context.Context, m backup.Manifest, entry backup.DeltaEntry) error {
	d, err := o.delta(ctx, entry)
	switch {
	case errors.Is(err, delta.ErrDamaged), errors.Is(err, io.ErrUnexpectedEOF):
		return backup.Damaged(err)
	case err != nil:
		return err
	case d.Cluster != m.Cluster || d.UID != m.UID || d.Generation != m.Generation || d.Base != entry.Base || d.Last != entry.Last:
		return backup.Damaged(fmt.Errorf("%s: it is of etcd %s, lineage %s, generation %d, revisions %d to %d",
			entry.Key, d.Cluster, d.UID, d.Generation, d.Base, d.Last))
	}
	return nil
}

// Rehearse restores a backup into a directory below scratch, has the result inspected as before a start of etcd, and removes it.
func (o *Operator) Rehearse(ctx context.Context, entry backup.Entry, scratch string, offline datadir.Options, c *Checked, progress func(done, total int64)) (err error) {
	dir, err := os.MkdirTemp(scratch, "rekindle-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	result, err := restore.Restore(ctx, o.Store, restore.Order{
		Backup: entry, Dir: datadir.Data(dir), Part: datadir.Part(dir), Name: "verify", PeerURL: "http://127.0.0.1:1", Token: "verify",
		Bump: restore.Bump, Log: o.Logger, Progress: progress,
	})
	if errors.Is(err, restore.ErrCorrupt) {
		c.Damaged = append(c.Damaged, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	c.Restored, c.Warnings = result.Reached, result.Warnings
	found, err := datadir.Inspect(ctx, dir, offline)
	switch {
	case err != nil:
		return err
	case found.State != datadir.Sound:
		c.Damaged = append(c.Damaged, fmt.Sprintf("what was restored is %s: %s", found.State, found.Why))
	case result.Reached < entry.Reaches():
		c.Damaged = append(c.Damaged, fmt.Sprintf("the restore came to revision %d, by the listing %d: %s", result.Reached, entry.Reaches(),
			strings.Join(result.Warnings, "; ")))
	}
	return nil
}

// counted tells how many bytes of snapshot and deltas were read through it.
type counted struct {
	store.Store
	total int64
	told  func(done, total int64)
	read  atomic.Int64
}

// Open implements store.Blobs.
func (c *counted) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	body, err := c.Store.Open(ctx, key, offset, length)
	if err != nil || c.told == nil || strings.HasSuffix(key, ".json") {
		return body, err
	}
	return &counting{body, c}, nil
}

type counting struct {
	io.ReadCloser
	to *counted
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.to.told(c.to.read.Add(int64(n)), c.to.total)
	return n, err
}

// DataRoot is below what the agent keeps its members' directories.
const DataRoot = "/var/lib/etcd"

// CheckTarget refuses a directory that a restore by hand must not touch: one that holds anything, or lies where the agent decides. roots
// are where members' directories really are.
func CheckTarget(dir string, roots ...string) error {
	whole, err := resolve(dir)
	if err != nil {
		return err
	}
	for _, root := range roots {
		kept, err := resolve(root)
		if err != nil {
			return err
		}
		if inside, err := filepath.Rel(kept, whole); err == nil && inside != ".." && !strings.HasPrefix(inside, "../") {
			return fmt.Errorf("%s is below %s, where the agent alone decides what lies: restore to another directory; "+
				"masters restore by themselves, see `rekindle etcd recover`", dir, root)
		}
	}
	entries, err := os.ReadDir(whole)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s exists and is not empty: give a directory that does not exist yet", dir)
	}
	return nil
}

// resolve is a path without symbolic links, also if its last parts do not exist.
func resolve(path string) (string, error) {
	whole, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	followed, err := filepath.EvalSymlinks(whole)
	if !errors.Is(err, os.ErrNotExist) {
		return followed, err
	}
	above, err := resolve(filepath.Dir(whole))
	return filepath.Join(above, filepath.Base(whole)), err
}
