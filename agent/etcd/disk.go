package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/etcd/restore"
	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// stale are keys that say who is alive: after a restore nobody of them is (kubernetes#86812, #118501).
var stale = []string{"/registry/masterleases/"}

// Directory is the Disk of a real node.
type Directory struct {
	Blobs   store.Blobs
	Path    func(path string) (string, error) // where a path of the plan really lies
	Offline datadir.Options
	Logger  *slog.Logger
}

// Inspect implements Disk.
func (d *Directory) Inspect(ctx context.Context, member plan.Etcd) (datadir.Found, error) {
	dir, err := d.Path(member.DataDir)
	if err != nil {
		return datadir.Found{}, err
	}
	return datadir.Inspect(ctx, dir, d.Offline)
}

// Busy implements Disk.
func (d *Directory) Busy(_ context.Context, member plan.Etcd) (bool, error) {
	dir, err := d.Path(member.DataDir)
	if err != nil {
		return false, err
	}
	return datadir.Running(dir)
}

// Gone implements Disk.
func (d *Directory) Gone(_ context.Context, member plan.Etcd) (bool, error) {
	dir, err := d.Path(member.DataDir)
	if err != nil {
		return false, err
	}
	_, err = os.Lstat(datadir.Data(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// Mark implements Disk.
func (d *Directory) Mark(_ context.Context, member plan.Etcd, marker datadir.Marker) error {
	dir, err := d.Path(member.DataDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return datadir.WriteMarker(dir, marker)
}

// SetAside implements Disk.
func (d *Directory) SetAside(_ context.Context, member plan.Etcd, why string) error {
	dir, err := d.Path(member.DataDir)
	if err != nil {
		return err
	}
	where, err := datadir.SetAside(dir, time.Now(), why)
	if err == nil {
		d.Logger.Warn("etcd data set aside", "etcd", member.Name, "path", where, "why", why)
	}
	return err
}

// Build implements Disk.
func (d *Directory) Build(ctx context.Context, member plan.Etcd, order Build) (Built, error) {
	dir, err := d.Path(member.DataDir)
	if err != nil {
		return Built{}, err
	}
	whole := restore.Order{
		Dir: datadir.Data(dir), Part: datadir.Part(dir),
		Name: order.Marker.Member, PeerURL: member.PeerURLOf(order.Marker.Member), Token: order.Marker.Token,
		Bump: restore.Bump, Drop: stale, MaxEtcd: member.Version, Log: d.Logger,
	}
	if !order.Own {
		if err := d.Mark(ctx, member, order.Marker); err != nil {
			return Built{}, err
		}
		return d.fromBackups(ctx, member, order.Backups, whole)
	}
	return d.fromOwn(ctx, member, dir, order, whole)
}

// fromBackups restores the first backup that is good. One that the store cannot deliver now is no reason to take an older.
func (d *Directory) fromBackups(ctx context.Context, member plan.Etcd, entries []backup.Entry, o restore.Order) (built Built, err error) {
	ctx, span := status.Step(ctx, "etcd "+member.Name+": restore")
	defer func() { span.Done(err) }()
	wait := status.WaitingOn(ctx, "etcd "+member.Name+": restore", "a backup")
	defer wait.Done()
	o.Progress = func(done, total int64) {
		wait.Update(fmt.Sprintf("%s of %s", status.Bytes(done), status.Bytes(total)))
	}
	for _, entry := range entries {
		o.Backup = entry
		result, err := restore.Restore(ctx, d.Blobs, o)
		if errors.Is(err, restore.ErrCorrupt) {
			built.Warnings = append(built.Warnings, fmt.Sprintf("backup %s is corrupt and was passed over: %v", entry.ID, err))
			continue
		}
		if err != nil {
			return built, err
		}
		span.AddBytes(result.Fetched)
		d.Logger.Info("etcd restored", "etcd", member.Name, "backup", entry.ID, "bytes", result.Bytes, "fetch", result.Took.Fetch,
			"deltas", result.Took.Deltas, "rewrite", result.Took.Rewrite, "verify", result.Took.Verify, "sync", result.Took.Sync)
		built.Backup, built.Revision = entry.ID, result.Revision
		built.Warnings = append(built.Warnings, result.Warnings...)
		return built, nil
	}
	return built, ErrNothingToBuild
}

// fromOwn makes the new generation's data beside the old, and then puts it in the old one's place. However often it is cut,
// the next call goes on where the last one left.
func (d *Directory) fromOwn(ctx context.Context, member plan.Etcd, dir string, order Build, o restore.Order) (built Built, err error) {
	next := filepath.Join(dir, fmt.Sprintf("data.next-g%d", order.Marker.Generation))
	o.Dir = next
	_, err = os.Stat(next)
	if errors.Is(err, fs.ErrNotExist) {
		built, err = d.next(ctx, member, dir, order, o)
	}
	if err != nil {
		return built, err
	}
	if _, err := os.Stat(datadir.Data(dir)); err == nil {
		if err := d.SetAside(ctx, member, fmt.Sprintf("generation %d was made of it", order.Marker.Generation)); err != nil {
			return built, err
		}
	}
	if err := datadir.WriteMarker(dir, order.Marker); err != nil {
		return built, err
	}
	if err := os.Rename(next, datadir.Data(dir)); err != nil {
		return built, err
	}
	if err := syncDir(dir); err != nil {
		return built, err
	}
	return built, os.RemoveAll(datadir.Scratch(dir))
}

// next builds the new data: from what lies here, or from a backup that has more.
func (d *Directory) next(ctx context.Context, member plan.Etcd, dir string, order Build, o restore.Order) (Built, error) {
	if _, err := os.Stat(datadir.Data(dir)); errors.Is(err, fs.ErrNotExist) {
		return Built{}, ErrNothingToBuild
	}
	db, err := datadir.Extract(ctx, dir, d.Offline)
	if err != nil {
		return Built{}, err
	}
	has, err := revisionOf(db)
	if err != nil {
		return Built{}, err
	}
	var warnings []string
	if len(order.Backups) > 0 && order.Backups[0].Reaches() > has {
		d.Logger.Warn("the backup has more than the data here", "etcd", member.Name, "backup", order.Backups[0].ID, "reaches", order.Backups[0].Reaches(), "here", has)
		built, err := d.fromBackups(ctx, member, order.Backups[:1], o)
		if !errors.Is(err, ErrNothingToBuild) {
			return built, err
		}
		warnings = built.Warnings
	}
	o.Move = true
	result, err := restore.FromFile(ctx, db, o)
	return Built{Revision: result.Revision, Warnings: append(warnings, result.Warnings...)}, err
}

func revisionOf(path string) (revision int64, err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bbolt.Tx) error {
		revision, err = delta.Revision(tx)
		return err
	})
	return revision, err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
