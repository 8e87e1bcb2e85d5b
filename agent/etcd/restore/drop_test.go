package restore

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/etcdtest"
)

// Dropping prefixes is what a client would do after etcdutl's restore, in one transaction: the same revisions, the same sum.
func TestDropEqualsADeletion(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true})
	client := cluster.Client(t)
	workload(t, client, 7, 300)
	for _, gone := range []string{"/registry/masterleases/was", "/k-gone"} { // deleted before: no tombstone
		if _, err := client.Put(deadline(t), gone, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Delete(deadline(t), gone); err != nil {
			t.Fatal(err)
		}
	}
	path := snapshotOf(t, client)
	blobs, e := stored(t, path)
	member := cluster.New(t)
	o := order(t, e)
	o.Name, o.PeerURL, o.Bump = member.Name, member.PeerURL, Bump
	o.Drop = []string{"/registry/masterleases/", "/k1", "/none/", "/registry/masterleases/1"} // they may overlap
	r, err := Restore(deadline(t), blobs, o)
	if err != nil {
		t.Fatal(err)
	}
	member.DataDir = byEtcdutl(t, path, o)
	member.Begin(t)
	c := member.Client(t)
	deletion, err := c.Txn(deadline(t)).Then(
		clientv3.OpDelete("/k1", clientv3.WithPrefix()),
		clientv3.OpDelete("/registry/masterleases/", clientv3.WithPrefix())).Commit()
	if err != nil {
		t.Fatal(err)
	}
	want := look(t, c)
	deleted := int64(0)
	for _, one := range deletion.Responses {
		deleted += one.GetResponseDeleteRange().Deleted
	}
	sum, err := c.HashKV(deadline(t), member.ClientURL, 0)
	if err != nil {
		t.Fatal(err)
	}
	member.Stop()

	if r.Dropped != deleted || r.Dropped < 10 || r.Revision != r.Reached+Bump+1 {
		t.Errorf("%d keys dropped, %d deleted; revision %d, reached %d", r.Dropped, deleted, r.Revision, r.Reached)
	}
	sound(t, o.Dir)
	member.DataDir = o.Dir
	member.Begin(t)
	c = member.Client(t)
	if diff := cmp.Diff(want, look(t, c)); diff != "" {
		t.Errorf("deleted -, dropped +:\n%.3000s", diff)
	}
	for deadline := deadline(t); ; { // the compaction that the restore left behind has to be done in both
		got, err := c.HashKV(deadline, member.ClientURL, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got.CompactRevision == sum.CompactRevision {
			if got.Hash != sum.Hash {
				t.Errorf("hashkv: deleted %v, dropped %v", sum, got)
			}
			break
		}
	}
	if watch := <-c.Watch(deadline(t), "/k1", clientv3.WithPrefix(), clientv3.WithRev(r.Revision)); len(watch.Events) == 0 ||
		watch.Events[0].Type != clientv3.EventTypeDelete {
		t.Errorf("a watch from the deletion sees %+v", watch)
	}
}

// Without anything to drop no revision is made; without a bump the deletions follow the backup's own revision.
func TestDropRevisions(t *testing.T) {
	blobs, e := fixture(t)
	for name, c := range map[string]struct {
		drop    []string
		bump    uint64
		more    int64
		dropped int64
	}{
		"nothing there":  {[]string{"/none/"}, 0, 0, 0},
		"without a bump": {[]string{"/registry/masterleases/"}, 0, 1, fixtureKeys / 100},
		"with a bump":    {[]string{"/registry/masterleases/"}, 5, 6, fixtureKeys / 100},
	} {
		t.Run(name, func(t *testing.T) {
			o := order(t, e)
			o.Drop, o.Bump = c.drop, c.bump
			r, err := Restore(deadline(t), blobs, o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Revision != e.Revision+c.more || r.Dropped != c.dropped || r.Reached != e.Revision {
				t.Errorf("revision %d of %d, %d dropped", r.Revision, e.Revision, r.Dropped)
			}
			keys := slices.Sorted(maps.Keys(dump(t, o.Dir)["key"]))
			if int64(len(keys)) != r.Keys {
				t.Errorf("%d revisions, and the result says %d", len(keys), r.Keys)
			}
			if last := keys[len(keys)-1]; strings.HasSuffix(last, "t") != (c.dropped > 0) {
				t.Errorf("the last revision is %x", last)
			}
		})
	}
}

// The key of a stored value is found as unmarshalling would find it, whatever the bytes.
func FuzzKeyOf(f *testing.F) {
	for _, kv := range []mvccpb.KeyValue{{}, {Key: []byte("k")}, {Key: []byte(strings.Repeat("k", 300)), Value: []byte("v"), Version: 1}, {Value: []byte("v")}} {
		raw, err := kv.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte{1<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		key, err := keyOf(raw)
		var kv mvccpb.KeyValue
		if kv.Unmarshal(raw) != nil {
			return // etcd would end over it, and never wrote it
		}
		if again, _ := kv.Marshal(); string(again) != string(raw) {
			return // nor this
		}
		if err != nil || string(key) != string(kv.Key) {
			t.Errorf("key %q, %v; want %q", key, err, kv.Key)
		}
	})
}
