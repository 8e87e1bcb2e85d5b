// Package restoretest makes etcd databases, and backups of database files, for tests and benchmarks of restores. It takes
// no snapshot of a living server: that is package backup's part.
package restoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/store"
)

// UID is the lineage that Store's backups belong to.
const UID = "0123456789abcdef"

// Database writes, with etcd's own storage, a database of so many keys, whose values have so many bytes, half of which
// compress. Their names are those of Kubernetes' objects; every hundredth is a master's lease.
func Database(path string, keys, size int) error {
	config := backend.DefaultBackendConfig(zap.NewNop())
	config.Path, config.UnsafeNoFsync, config.BatchInterval = path, true, time.Second
	be := backend.New(config)
	schema.NewMembershipBackend(zap.NewNop(), be).MustCreateBackendBuckets()
	schema.NewAlarmBackend(zap.NewNop(), be).CreateAlarmBucket()
	tx := be.BatchTx()
	tx.LockOutsideApply()
	schema.UnsafeCreateMetaBucket(tx)
	schema.UnsafeCreateLeaseBucket(tx)
	schema.UnsafeSetStorageVersion(tx, &version.V3_6)
	schema.UnsafeUpdateConsistentIndexForce(tx, 1_000_000, 7)
	tx.Unlock()
	kv := mvcc.NewStore(zap.NewNop(), be, &lease.FakeLessor{}, mvcc.StoreConfig{})
	random := rand.NewChaCha8([32]byte{1})
	value := make([]byte, size)
	text := bytes.Repeat([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"labels":{"app":"web"}}}`), size/136+1)
	for i := range keys {
		_, _ = random.Read(value[:size/2]) // never an error
		copy(value[size/2:], text)
		name := fmt.Sprintf("/registry/pods/default/web-%08d", i)
		if i%100 == 0 {
			name = fmt.Sprintf("/registry/masterleases/10.0.%d.%d", i/100/250, i/100%250)
		}
		kv.Put([]byte(name), value, lease.NoLease)
	}
	return errors.Join(kv.Close(), be.Close())
}

// Store stores a database file as a backup, and returns its listing.
func Store(ctx context.Context, blobs store.Blobs, path string) (backup.Entry, error) {
	m, err := describe(path)
	if err != nil {
		return backup.Entry{}, err
	}
	e := backup.Entry{Cluster: m.Cluster, Generation: m.Generation, ID: backup.ID(m.Generation, m.Taken, m.Revision),
		Taken: m.Taken, Revision: m.Revision, Complete: true}
	file, err := os.Open(path)
	if err != nil {
		return backup.Entry{}, err
	}
	defer file.Close()
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(pack(writer, file, &m)) }()
	if _, err := blobs.Upload(ctx, e.SnapshotKey(), reader); err != nil {
		return backup.Entry{}, errors.Join(err, reader.CloseWithError(err))
	}
	e.Stored = m.Stored
	return e, PutManifest(ctx, blobs, e, m)
}

// PutManifest stores a manifest, whatever it says.
func PutManifest(ctx context.Context, blobs store.Blobs, e backup.Entry, m backup.Manifest) error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	_, err = blobs.Upload(ctx, e.ManifestKey(), bytes.NewReader(data))
	return err
}

func describe(path string) (m backup.Manifest, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return m, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	m = backup.Manifest{Version: backup.ManifestVersion, Cluster: "main", UID: UID, Generation: 3, Member: "main-1",
		Taken: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), ClusterID: "1", Members: 1, EtcdVersion: version.Version,
		StorageVersion: "3.6.0", Size: info.Size()}
	return m, db.View(func(tx *bbolt.Tx) error {
		m.Keys = int64(tx.Bucket(schema.Key.Name()).Stats().KeyN)
		m.Revision, err = delta.Revision(tx)
		return err
	})
}

// pack writes the frames and fills in the manifest.
func pack(w io.Writer, r io.Reader, m *backup.Manifest) error {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	defer encoder.Close()
	all := sha256.New()
	chunk := make([]byte, backup.ChunkSize)
	var frame []byte
	for i := int64(0); i*backup.ChunkSize < m.Size; i++ {
		_, length := m.Span(int(i))
		data := chunk[:length]
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		all.Write(data)
		frame = encoder.EncodeAll(data, frame[:0])
		two, three := sha256.Sum256(data), blake3.Sum256(data)
		m.Chunks = append(m.Chunks, backup.Chunk{Offset: m.Stored, Length: int64(len(frame)),
			SHA256: hex.EncodeToString(two[:]), BLAKE3: hex.EncodeToString(three[:])})
		m.Stored += int64(len(frame))
		if _, err := w.Write(frame); err != nil {
			return err
		}
	}
	m.SHA256 = hex.EncodeToString(all.Sum(nil))
	return nil
}
