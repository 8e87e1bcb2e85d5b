package delta

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/pkg/v3/traceutil"
	lessor "go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/etcdtest"
)

// full is a full backup: the file of a snapshot without its sum, and what the store knows of it.
type full struct {
	path     string
	entry    backup.Entry
	manifest backup.Manifest
}

func take(t testing.TB, client *clientv3.Client) full {
	t.Helper()
	answer, err := client.SnapshotWithVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Snapshot.Close()
	raw, err := io.ReadAll(answer.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	f := full{path: filepath.Join(t.TempDir(), "db")}
	if err := os.WriteFile(f.path, raw[:len(raw)-32], 0o600); err != nil {
		t.Fatal(err)
	}
	var revision int64
	db := open(t, f.path)
	err = db.View(func(tx *bbolt.Tx) error { revision, err = Revision(tx); return err })
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	header, err := client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	taken := time.Now()
	f.manifest = backup.Manifest{
		Cluster: "main", UID: "u", Generation: 1, Revision: revision, ClusterID: fmt.Sprintf("%x", header.Header.ClusterId),
	}
	f.entry = backup.Entry{Cluster: "main", ID: backup.ID(1, taken, revision), Generation: 1, Taken: taken, Revision: revision}
	return f
}

func open(t testing.TB, path string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// copied is the backup's file once more, with deltas replayed into it.
func (f full) copied(t testing.TB, deltas ...*Delta) string {
	t.Helper()
	raw, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	db := open(t, path)
	defer db.Close()
	for _, d := range deltas {
		if err := Replay(db, d); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// following is a Stream that runs.
type following struct {
	*blobs
	cancel context.CancelFunc
	done   chan struct{}
	err    error // when done
	mu     sync.Mutex
	latest Progress
	most   int // bytes held
}

func follow(t testing.TB, client *clientv3.Client, base full, into *blobs, o Options, fence func(context.Context) error) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{blobs: into, cancel: cancel, done: make(chan struct{}), latest: Progress{Last: base.entry.Reaches()}}
	if o.Interval == 0 {
		o.Interval = 40 * time.Millisecond
	}
	s := &Stream{
		Client: client, Blobs: into, Options: o, Fence: fence, Observe: f.observe, Log: slog.New(slog.DiscardHandler),
	}
	go func() {
		defer close(f.done)
		f.err = s.Run(ctx, base.entry, base.manifest)
	}()
	t.Cleanup(func() { _ = f.stop() })
	return f
}

func (f *following) observe(p Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest, f.most = p, max(f.most, p.Bytes)
}

func (f *following) progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest
}

func (f *following) stop() error {
	f.cancel()
	<-f.done
	return f.err
}

// ended waits until Run gave up by itself.
func (f *following) ended(t testing.TB) error {
	t.Helper()
	select {
	case <-f.done:
		return f.err
	case <-time.After(60 * time.Second):
		t.Fatalf("it runs on: %+v", f.progress())
		return nil
	}
}

// reach waits until everything up to a revision is stored.
func (f *following) reach(t testing.TB, rev int64) Progress {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if p := f.progress(); p.Last >= rev {
			tick.Stop()
			return p
		}
		select {
		case <-tick.C:
		case <-f.done:
			t.Fatalf("it ended before revision %d: %v", rev, f.err)
		case <-deadline:
			t.Fatalf("revision %d is not stored after 60 s: %+v", rev, f.progress())
		}
	}
}

// mark writes a key and waits until the write is stored.
func (f *following) mark(t testing.TB, client *clientv3.Client) int64 {
	t.Helper()
	rev := put(t, client, "mark", "x")
	f.reach(t, rev)
	return rev
}

func put(t testing.TB, client *clientv3.Client, key, value string, o ...clientv3.OpOption) int64 {
	t.Helper()
	answer, err := client.Put(t.Context(), key, value, o...)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Header.Revision
}

// sums compares a replayed file at a revision with the running server, at the server's compaction, by etcd's own sum.
func sums(t testing.TB, path string, client *clientv3.Client, rev int64) {
	t.Helper()
	live, err := client.HashKV(t.Context(), client.Endpoints()[0], rev)
	if err != nil {
		t.Fatal(err)
	}
	s, closed := storage(t, path)
	defer closed()
	if compacted := live.CompactRevision; compacted > s.firstRev() {
		done, err := s.Compact(traceutil.TODO(), compacted)
		if err != nil {
			t.Fatal(err)
		}
		<-done
	}
	got, current, err := s.HashStorage().HashByRev(rev)
	if err != nil {
		t.Fatal(err)
	}
	if current != rev || got.Hash != live.Hash || got.CompactRevision != live.CompactRevision {
		t.Fatalf("replayed: sum %08x at revision %d of %d, compacted %d; live: %08x at %d, compacted %d",
			got.Hash, rev, current, got.CompactRevision, live.Hash, live.HashRevision, live.CompactRevision)
	}
}

// opened is etcd's own storage on a file.
type opened struct{ mvcc.WatchableKV }

func (o opened) firstRev() int64 { return o.FirstRev() }

func storage(t testing.TB, path string) (opened, func()) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Join(t.TempDir(), "db") // opening writes
	if err := os.WriteFile(scratch, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	config := backend.DefaultBackendConfig(zap.NewNop())
	config.Path, config.UnsafeNoFsync, config.MmapSize = scratch, true, 16<<20
	b := backend.New(config)
	kv := mvcc.New(zap.NewNop(), b, &lessor.FakeLessor{}, mvcc.StoreConfig{})
	return opened{kv}, func() {
		_ = kv.Close()
		_ = b.Close()
	}
}

// contents is what a file holds: the last state of every key, and the leases.
func contents(t testing.TB, path string) (map[string]mvccpb.KeyValue, map[int64]leasepb.Lease) {
	t.Helper()
	keys, leases := map[string]mvccpb.KeyValue{}, map[int64]leasepb.Lease{}
	db := open(t, path)
	defer db.Close()
	err := db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket(keyBucket).ForEach(func(k, v []byte) error {
			var kv mvccpb.KeyValue
			if err := kv.Unmarshal(v); err != nil {
				return err
			}
			if keys[string(kv.Key)] = kv; len(k) > revisionSize {
				delete(keys, string(kv.Key))
			}
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(leaseBucket).ForEach(func(k, v []byte) error {
			var l leasepb.Lease
			err := l.Unmarshal(v)
			leases[int64(binary.BigEndian.Uint64(k))] = l
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys, leases
}

// single starts an etcd of one member.
func single(t testing.TB) (*etcdtest.Member, *clientv3.Client) {
	t.Helper()
	cluster := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true})
	return cluster.Members[0], cluster.Members[0].Client(t)
}
