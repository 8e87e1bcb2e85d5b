package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"

	"rekindle/agent/etcd/etcdtest"
)

// listening is a real member, and what it sent.
type listening struct {
	*clientv3.Client
	sent bytes.Buffer
}

func (l *listening) SnapshotWithVersion(ctx context.Context) (*clientv3.SnapshotResponse, error) {
	answer, err := l.Client.SnapshotWithVersion(ctx)
	if err == nil {
		answer.Snapshot = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(answer.Snapshot, &l.sent), answer.Snapshot}
	}
	return answer, err
}

// What is stored is, byte for byte, what a living etcd sent; etcdutl accepts and restores it; the manifest says what is in it.
func TestTake(t *testing.T) {
	cluster := etcdtest.Start(t, 1, etcdtest.Options{})
	member := cluster.Leader(t)
	if _, err := cluster.Client(t).MemberAddAsLearner(t.Context(), []string{"https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	etcd := &listening{Client: member.Client(t)}
	compacted, revision := fill(t, etcd.Client)
	s := newStore(t)
	o := options(t, etcd, s)
	o.Member = member.Name
	entry, manifest, err := taker(t, o).Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	empty(t, o.SpoolDir)

	raw := reassemble(t, s, entry)
	sent := etcd.sent.Bytes()
	if !bytes.Equal(raw, sent[:len(sent)-sha256.Size]) {
		t.Fatal("what is stored is not what etcd sent")
	}
	status := accepted(t, sent)
	if manifest.Revision != revision || status.Revision != revision {
		t.Errorf("revision %d, etcdutl says %d, etcd says %d", manifest.Revision, status.Revision, revision)
	}
	if manifest.CompactRevision != compacted {
		t.Errorf("compact revision %d, want %d", manifest.CompactRevision, compacted)
	}
	if keys := revisions(t, raw); manifest.Keys != keys {
		t.Errorf("%d keys, want %d", manifest.Keys, keys)
	}
	if manifest.StorageVersion != status.Version {
		t.Errorf("storage version %q, etcdutl says %q", manifest.StorageVersion, status.Version)
	}
	if manifest.Members != 1 || manifest.EtcdVersion != "3.6.16" || manifest.Member != member.Name {
		t.Errorf("%d voters, etcd %s, member %s", manifest.Members, manifest.EtcdVersion, manifest.Member)
	}
	list, err := etcd.MemberList(t.Context())
	if err != nil || fmt.Sprintf("%x", list.Header.ClusterId) != manifest.ClusterID {
		t.Errorf("cluster id %s, want %x (%v)", manifest.ClusterID, list.Header.ClusterId, err)
	}
	listed, err := List(t.Context(), s, "main")
	if err != nil || len(listed) != 1 || listed[0].ID != entry.ID || !listed[0].Complete || listed[0].Stored != entry.Stored {
		t.Errorf("listed %+v, want %+v (%v)", listed, entry, err)
	}
	report, err := Verify(t.Context(), s, entry, nil)
	if err != nil || report.Reaches != revision {
		t.Errorf("%+v, %v", report, err)
	}
	t.Logf("revision %d, %d revisions of keys, %d bytes stored as %d", manifest.Revision, manifest.Keys, manifest.Size, manifest.Stored)
}

// fill writes what etcd can hold: keys, deletions, transactions, leases, and a compaction in the midst of it.
func fill(t *testing.T, client *clientv3.Client) (compacted, revision int64) {
	t.Helper()
	ctx := t.Context()
	random := rand.New(rand.NewPCG(4, 2))
	lease, err := client.Grant(ctx, 3600)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		key := fmt.Sprintf("/registry/%d", random.IntN(60))
		var err error
		switch random.IntN(5) {
		case 0:
			_, err = client.Delete(ctx, key)
		case 1:
			_, err = client.Put(ctx, key, "leased", clientv3.WithLease(lease.ID))
		case 2:
			_, err = client.Txn(ctx).Then(clientv3.OpPut(key, "a"), clientv3.OpPut(key+"/b", "b"), clientv3.OpDelete("/registry/7")).Commit()
		default:
			value := make([]byte, random.IntN(4096))
			for i := range value {
				value[i] = byte(random.Uint32())
			}
			_, err = client.Put(ctx, key, string(value))
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 150 {
			compacted = compact(t, client)
		}
	}
	last, err := client.Get(ctx, "none")
	if err != nil {
		t.Fatal(err)
	}
	return compacted, last.Header.Revision
}

func compact(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	now, err := client.Get(t.Context(), "none")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	return now.Header.Revision
}

// accepted has etcd's own tool check the file, sum included, and restore it.
func accepted(t *testing.T, sent []byte) snapshot.Status {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot.db")
	if err := os.WriteFile(path, sent, 0o600); err != nil {
		t.Fatal(err)
	}
	utility := snapshot.NewV3(zap.NewNop())
	if err := utility.Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: "m", OutputDataDir: filepath.Join(t.TempDir(), "data"), PeerURLs: []string{"http://127.0.0.1:1"},
		InitialCluster: "m=http://127.0.0.1:1", InitialClusterToken: "t",
	}); err != nil {
		t.Fatal(err)
	}
	status, err := utility.Status(path)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func revisions(t *testing.T, raw []byte) (n int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return tx.Bucket(schema.Key.Name()).ForEach(func([]byte, []byte) error { n++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The revision is etcd's own even when no key is left to tell it.
func TestRevisionWithoutKeys(t *testing.T) {
	etcd := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true}).Members[0].Client(t)
	s := newStore(t)
	take := func() Manifest {
		t.Helper()
		o := options(t, etcd, s)
		_, manifest, err := taker(t, o).Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return manifest
	}
	if m := take(); m.Revision != 1 || m.CompactRevision != 0 || m.Keys != 0 {
		t.Errorf("a fresh etcd: revision %d, compacted %d, %d keys", m.Revision, m.CompactRevision, m.Keys)
	}
	for range 3 {
		if _, err := etcd.Put(t.Context(), "a", "1"); err != nil {
			t.Fatal(err)
		}
		if _, err := etcd.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if want, m := compact(t, etcd), take(); m.Revision != want || m.CompactRevision != want {
		t.Errorf("all deleted and compacted: revision %d, compacted %d, want %d", m.Revision, m.CompactRevision, want)
	}
}
