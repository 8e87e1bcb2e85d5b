package restore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/restore/restoretest"
	"rekindle/agent/store"
)

// workload writes at random: puts, deletes, transactions, leases, compactions, and values of up to 200 KB.
func workload(t testing.TB, c *clientv3.Client, seed uint64, steps int) {
	t.Helper()
	ctx, random := deadline(t), rand.New(rand.NewPCG(seed, 1))
	var leases []clientv3.LeaseID
	key := func() string {
		return []string{"/registry/pods/", "/registry/masterleases/", "/k"}[random.IntN(3)] + fmt.Sprint(random.IntN(60))
	}
	put := func() clientv3.Op {
		var with []clientv3.OpOption
		if len(leases) > 0 && random.IntN(4) == 0 {
			with = append(with, clientv3.WithLease(leases[random.IntN(len(leases))]))
		}
		return clientv3.OpPut(key(), strings.Repeat(fmt.Sprint(random.Uint64()), 1+random.IntN([]int{3, 100, 10_000}[random.IntN(3)])), with...)
	}
	for i := range steps {
		var err error
		switch n := random.IntN(20); {
		case n == 0:
			var lease *clientv3.LeaseGrantResponse
			if lease, err = c.Grant(ctx, 10_000+random.Int64N(1000)); err == nil {
				leases = append(leases, lease.ID)
			}
		case n == 1 && i > max(steps/2, 20):
			var at *clientv3.GetResponse
			if at, err = c.Get(ctx, "/"); err == nil {
				if _, err = c.Compact(ctx, at.Header.Revision-random.Int64N(20)); err != nil && strings.Contains(err.Error(), "compacted") {
					err = nil
				}
			}
		case n < 6:
			_, err = c.Delete(ctx, key(), clientv3.WithRange(key()))
		case n < 9:
			_, err = c.Txn(ctx).Then(clientv3.OpPut("/t/a", "1"), clientv3.OpDelete(key()), clientv3.OpPut("/t/b", fmt.Sprint(i))).Commit()
		default:
			_, err = c.Do(ctx, put())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// snapshotOf is a snapshot as etcd sends it, with its sum, in a file.
func snapshotOf(t testing.TB, c *clientv3.Client) string {
	t.Helper()
	r, err := c.SnapshotWithVersion(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Snapshot.Close()
	path := filepath.Join(t.TempDir(), "snapshot.db")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.Copy(file, r.Snapshot); err != nil {
		t.Fatal(err)
	}
	return path
}

// stored stores the database of a snapshot as a backup of ours.
func stored(t testing.TB, path string) (*store.Dir, backup.Entry) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(db, data[:len(data)-len(data)%512], 0o600); err != nil {
		t.Fatal(err)
	}
	blobs := store.NewDir(t.TempDir())
	e, err := restoretest.Store(deadline(t), blobs, db)
	if err != nil {
		t.Fatal(err)
	}
	return blobs, e
}

// byEtcdutl is what `etcdutl snapshot restore` makes of a snapshot, by the same order.
func byEtcdutl(t testing.TB, path string, o Order) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: o.Name, OutputDataDir: dir, PeerURLs: []string{o.PeerURL}, InitialCluster: o.Name + "=" + o.PeerURL,
		InitialClusterToken: o.Token, RevisionBump: o.Bump, MarkCompacted: o.Bump > 0, SkipHashCheck: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// hashKV is what `etcdutl hashkv` says of a copy of a data directory's database, as opening it changes it.
func hashKV(t testing.TB, dir string) mvcc.KeyValueHash {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "member", "snap", "db"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	be := backend.NewDefaultBackend(zap.NewNop(), path)
	defer be.Close()
	kv := mvcc.NewStore(zap.NewNop(), be, &lease.FakeLessor{}, mvcc.StoreConfig{}) // without a lessor etcdutl's panics on leases
	defer kv.Close()
	h, _, err := mvcc.NewHashStorage(zap.NewNop(), kv).HashByRev(0)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// files is every file of a data directory but the database, whose pages may lie in another order.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || entry.IsDir() || name == "member/snap/db" {
			return err
		}
		data, err := os.ReadFile(path)
		all[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// aged makes a snapshot of a cluster that had more members, lost some, and raised an alarm.
func aged(t testing.TB, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		for i := range 40 {
			id := []byte(fmt.Sprintf("%x", 0x2e9e05c52164694d+i))
			if err := tx.Bucket(schema.MembersRemoved.Name()).Put(id, []byte("removed")); err != nil {
				return err
			}
		}
		for i := range 4 {
			id := fmt.Sprintf("%x", 0x1e9e05c52164694d+i)
			if err := tx.Bucket(schema.Members.Name()).Put([]byte(id), fmt.Appendf(nil, `{"id":%d,"name":"m%d"}`, 0x1e9e05c52164694d+i, i)); err != nil {
				return err
			}
		}
		return tx.Bucket(schema.Alarm.Name()).Put([]byte{8, 1, 16, 1}, nil) // member 1: NOSPACE
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a restore makes equals what etcdutl makes: every bucket, key and value; every other file; etcd's own sum; and what
// etcd serves when it is started from it.
func TestEqualsEtcdutl(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true})
	client := cluster.Client(t)
	for seed, bump := range []uint64{0, Bump, 1} {
		t.Run(fmt.Sprintf("seed %d bump %d", seed, bump), func(t *testing.T) {
			workload(t, client, uint64(seed), 250)
			path := snapshotOf(t, client)
			if seed > 0 {
				aged(t, path)
			}
			member := cluster.New(t)
			blobs, e := stored(t, path)
			o := order(t, e)
			o.Name, o.PeerURL, o.Bump = member.Name, member.PeerURL, bump
			r, err := Restore(deadline(t), blobs, o)
			if err != nil {
				t.Fatal(err)
			}
			theirs := byEtcdutl(t, path, o)
			if diff := cmp.Diff(dump(t, theirs), dump(t, o.Dir)); diff != "" {
				t.Errorf("etcdutl -, ours +:\n%.3000s", diff)
			}
			if diff := cmp.Diff(files(t, theirs), files(t, o.Dir)); diff != "" {
				t.Errorf("etcdutl -, ours +:\n%.3000s", diff)
			}
			if a, b := hashKV(t, theirs), hashKV(t, o.Dir); a != b {
				t.Errorf("hashkv: %+v by etcdutl, %+v by us", a, b)
			}
			if alarms := strings.Contains(fmt.Sprint(r.Warnings), "1 alarms"); alarms != (seed > 0) {
				t.Errorf("warnings: %q", r.Warnings)
			}
			sound(t, o.Dir)
			want, got := serve(t, member, theirs, o.Dir, e.Revision, bump)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("etcdutl -, ours +:\n%.3000s", diff)
			}
			if got.Revision != r.Revision || r.Revision != r.Reached+int64(bump) || r.Reached != e.Revision {
				t.Errorf("serves revision %d; reached %d, now %d, of a backup at %d", got.Revision, r.Reached, r.Revision, e.Revision)
			}
		})
	}
}

// serve starts a member from each of two data directories in turn, and asks both the same.
func serve(t testing.TB, m *etcdtest.Member, a, b string, backup int64, bump uint64) (one, two state) {
	t.Helper()
	for i, dir := range []string{a, b} {
		m.DataDir = dir
		m.Begin(t)
		c := m.Client(t)
		s := look(t, c)
		s.history(t, c, backup, bump)
		m.Stop()
		if i == 0 {
			one = s
		} else {
			two = s
		}
	}
	return one, two
}

// state is what a client sees.
type state struct {
	Revision int64
	Keys     []string
	Leases   []string
	History  []string
}

func look(t testing.TB, c *clientv3.Client) (s state) {
	t.Helper()
	ctx := deadline(t)
	all, err := c.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	s.Revision = all.Header.Revision
	for _, kv := range all.Kvs {
		s.Keys = append(s.Keys, kv.String())
	}
	leases, err := c.Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Leases {
		ttl, err := c.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(ttl.Keys, bytes.Compare) // etcd gives them in the order of a map
		s.Leases = append(s.Leases, fmt.Sprintf("%x %d %q", l.ID, ttl.GrantedTTL, ttl.Keys))
	}
	slices.Sort(s.Leases)
	return s
}

// history is every change that a client can still see. After a bump it must be none, and a watch from before it must break.
func (s *state) history(t testing.TB, c *clientv3.Client, backup int64, bump uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	answer := <-c.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(1))
	if answer.CompactRevision == 0 {
		t.Error("a watch from the first revision does not end")
	}
	if bump > 0 && answer.CompactRevision != backup+int64(bump) {
		t.Errorf("compacted at %d, want %d", answer.CompactRevision, backup+int64(bump))
	}
	if bump == 0 {
		for at := answer.CompactRevision; at < s.Revision; {
			answer := <-c.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(at+1))
			if answer.Err() != nil || len(answer.Events) == 0 {
				t.Fatalf("watch from %d: %v, %d events", at+1, answer.Err(), len(answer.Events))
			}
			for _, event := range answer.Events {
				s.History = append(s.History, fmt.Sprint(event.Type, event.Kv))
				at = event.Kv.ModRevision
			}
		}
	}
	if _, err := c.Put(ctx, "/after", "1"); err != nil && !strings.Contains(err.Error(), "space exceeded") {
		t.Error(err)
	}
}
