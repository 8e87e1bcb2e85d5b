package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/store"
)

// ErrNotNow says that the member must not be backed up as it is; another member, or a later time, may do.
var ErrNotNow = errors.New("no backup now")

// maxLag is how many log entries a member may still have to apply. etcd itself refuses writes at 5000.
const maxLag = 1000

// cleanup is how long the removal of what does not count may take, after whatever ended the backup.
const cleanup = 30 * time.Second

// Taker takes full backups of one cluster from one member. Several may be at it at once, on several nodes: each backup has
// its own place, or is the same.
type Taker struct{ Options }

// NewTaker checks the options.
func NewTaker(o Options) (*Taker, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return &Taker{o}, nil
}

// Take takes a backup: snapshot, database, sums, upload, reading back, manifest. It counts once Take returns without an error;
// before, a listing shows it as incomplete at most. It never stops etcd, and leaves nothing on the disk.
//
// Callers branch on ErrNotNow and on what their Fence returns; everything else is worth another attempt.
func (t *Taker) Take(ctx context.Context) (Entry, Manifest, error) {
	entry, manifest, err := t.take(ctx)
	if err != nil {
		return Entry{}, Manifest{}, fmt.Errorf("backup of etcd %s: %w", t.Cluster, err)
	}
	return entry, manifest, nil
}

func (t *Taker) take(ctx context.Context) (Entry, Manifest, error) {
	begun := t.now()
	status, err := t.status(ctx)
	if err != nil {
		return Entry{}, Manifest{}, err
	}
	s, err := t.snapshot(ctx, status.DbSize)
	if err != nil {
		return Entry{}, Manifest{}, err
	}
	defer s.Close()
	found, err := inspect(s.File)
	if err != nil {
		return Entry{}, Manifest{}, err
	}
	spooled := t.now()
	manifest := t.describe(status, s, found, begun)
	entry, err := t.store(ctx, s, &manifest)
	if err != nil {
		return Entry{}, Manifest{}, err
	}
	t.Log.Info("backup taken", "etcd", t.Cluster, "backup", entry.ID, "revision", manifest.Revision, "bytes", manifest.Size,
		"stored", manifest.Stored, "spooled", spooled.Sub(begun).Round(time.Millisecond),
		"took", t.now().Sub(begun).Round(time.Millisecond))
	return entry, manifest, nil
}

// status asks how the member is, and refuses one whose data may be behind or wrong.
func (t *Taker) status(ctx context.Context) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Stall)
	defer cancel()
	status, err := t.Etcd.Status(ctx, t.Etcd.Endpoints()[0])
	switch {
	case err != nil:
		return nil, fmt.Errorf("status of %s: %w", t.Member, err)
	case status.Header == nil:
		return nil, fmt.Errorf("status of %s: it has no header", t.Member)
	case status.IsLearner:
		return nil, fmt.Errorf("%w: %s is a learner", ErrNotNow, t.Member)
	case status.Leader == 0:
		return nil, fmt.Errorf("%w: %s has no leader", ErrNotNow, t.Member)
	case len(status.Errors) > 0:
		return nil, fmt.Errorf("%w: %s reports: %s", ErrNotNow, t.Member, strings.Join(status.Errors, "; "))
	case status.RaftIndex > status.RaftAppliedIndex+maxLag:
		return nil, fmt.Errorf("%w: %s has %d log entries yet to apply", ErrNotNow, t.Member, status.RaftIndex-status.RaftAppliedIndex)
	}
	return status, nil
}

// snapshot brings the database to the disk at whatever speed etcd has. The caller closes the spool.
func (t *Taker) snapshot(ctx context.Context, size int64) (*spool, error) {
	s, err := newSpool(t.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := t.fill(ctx, s, size); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (t *Taker) fill(ctx context.Context, s *spool, size int64) error {
	if err := room(t.SpoolDir, t.free, size+size/5+t.Reserve); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := newWatchdog(t.Stall, cancel)
	stall.arm()
	defer stall.disarm()
	answer, err := t.Etcd.SnapshotWithVersion(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("snapshot: %w", err)
	}
	// A reader that waits is woken by Close, not by the context.
	stop := context.AfterFunc(ctx, func() { _ = answer.Snapshot.Close() })
	defer func() {
		if stop() {
			_ = answer.Snapshot.Close()
		}
	}()
	return s.fill(ctx, answer.Snapshot, t.Rate, stall, func() error { return room(t.SpoolDir, t.free, t.Reserve) })
}

func (t *Taker) describe(status *clientv3.StatusResponse, s *spool, found contents, taken time.Time) Manifest {
	return Manifest{
		Version: ManifestVersion, Cluster: t.Cluster, UID: t.UID, Generation: t.Generation, Member: t.Member,
		Taken: taken.UTC().Truncate(time.Second), ClusterID: fmt.Sprintf("%x", status.Header.ClusterId), Members: found.voters,
		EtcdVersion: status.Version, StorageVersion: found.storage,
		Revision: found.revision, CompactRevision: found.compact, Keys: found.keys, Size: s.size, SHA256: s.sha256,
	}
}

// store uploads snapshot and manifest. What did not become a backup is removed, unless it may be one after all.
func (t *Taker) store(ctx context.Context, s *spool, m *Manifest) (Entry, error) {
	entry := Entry{
		Cluster: t.Cluster, ID: ID(m.Generation, m.Taken, m.Revision), Generation: m.Generation, Taken: m.Taken,
		Revision: m.Revision,
	}
	if t.Began != nil {
		t.Began(entry, *m)
	}
	ours, err := t.upload(ctx, s, m, entry.SnapshotKey())
	if err != nil {
		return Entry{}, fmt.Errorf("upload: %w", err)
	}
	text, err := t.approve(ctx, m, entry, !ours)
	if err != nil && ours {
		err = errors.Join(err, t.discard(ctx, entry.SnapshotKey()))
	}
	if err != nil {
		return Entry{}, err
	}
	// From here on the backup may count, whatever the store answers: nothing is removed any more.
	if err := t.record(ctx, entry.ManifestKey(), text); err != nil {
		return Entry{}, fmt.Errorf("manifest: %w", err)
	}
	entry.Complete, entry.Snapshot, entry.Stored, entry.Modified = true, m.Stored, m.Stored+int64(len(text)), t.now()
	return entry, nil
}

// upload packs and uploads the database. An object that is there already is another's, or our own whose answer was lost:
// reading it back tells.
func (t *Taker) upload(ctx context.Context, s *spool, m *Manifest, key string) (ours bool, err error) {
	p := packer{spool: s, workers: t.Workers, level: t.Level}
	err = pipe(func(w io.Writer) (err error) {
		m.Chunks, err = p.pack(ctx, w)
		return err
	}, func(r io.Reader) error {
		_, err := t.Blobs.Upload(ctx, key, r)
		return err
	})
	if err != nil && (!errors.Is(err, store.ErrConflict) || len(m.Chunks) != len(s.blake3)) {
		return false, err
	}
	for _, chunk := range m.Chunks {
		m.Stored += chunk.Length
	}
	return err == nil, nil
}

// approve is everything that a backup must pass before its manifest, which it returns.
func (t *Taker) approve(ctx context.Context, m *Manifest, entry Entry, doubtful bool) ([]byte, error) {
	text, err := m.Encode()
	if err != nil {
		return nil, err
	}
	full := doubtful || t.Check != CheckSizes
	if err := t.check(ctx, m, entry.SnapshotKey(), full); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	if err := t.Fence(ctx); err != nil {
		return nil, fmt.Errorf("before the manifest: %w", err)
	}
	return text, nil
}

// check compares what the store has with what was sent.
func (t *Taker) check(ctx context.Context, m *Manifest, key string, full bool) error {
	listed, err := t.Blobs.Blobs(ctx, key)
	if err != nil {
		return err
	}
	if len(listed) != 1 || listed[0].Size != m.Stored {
		return fmt.Errorf("the store lists %v, want one object of %d bytes", listed, m.Stored)
	}
	if !full {
		return nil
	}
	r := reader{blobs: t.Blobs, key: key, manifest: m, workers: t.Workers}
	damaged, err := r.check(ctx)
	if err != nil {
		return err
	}
	if err := summary(damaged); err != nil {
		return fmt.Errorf("the store returns other bytes than were sent, or those of another node: %w", err)
	}
	return nil
}

// record writes the manifest. A conflict whose record is this very manifest was our own write.
func (t *Taker) record(ctx context.Context, key string, text []byte) error {
	_, err := t.Records.Put(ctx, key, text, "")
	if err == nil || !errors.Is(err, store.ErrConflict) {
		return err
	}
	there, _, readErr := t.Records.Get(ctx, key)
	if readErr == nil && bytes.Equal(there, text) {
		return nil
	}
	return errors.Join(err, readErr)
}

func (t *Taker) discard(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	err := t.Blobs.Remove(ctx, key)
	if err != nil && !errors.Is(err, store.ErrAbsent) {
		return fmt.Errorf("an incomplete backup stays, until retention removes it: %w", err)
	}
	return nil
}
