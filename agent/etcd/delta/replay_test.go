package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
)

// database is what an etcd at that revision leaves behind, with the leases 1 and 9.
func database(t testing.TB, at int64) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{keyBucket, leaseBucket, metaBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		for _, id := range []int64{1, 9} {
			raw, _ := (&leasepb.Lease{ID: id, TTL: 77}).Marshal()
			if err := tx.Bucket(leaseBucket).Put(binary.BigEndian.AppendUint64(nil, uint64(id)), raw); err != nil {
				return err
			}
		}
		if at > 1 {
			return tx.Bucket(keyBucket).Put(appendRevision(nil, at, 0, false), []byte("x"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// dump is all of a database, one line each.
func dump(t testing.TB, db *bbolt.DB) (lines []string) {
	t.Helper()
	err := db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				lines = append(lines, fmt.Sprintf("%s %x %x", name, k, v))
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestReplayRefusesAGapAndRepeatsNothing(t *testing.T) {
	a, b, c := sample(random(1), 5, 4), sample(random(2), 9, 3), sample(random(3), 12, 2)
	db := database(t, 5)
	for _, early := range []*Delta{b, c} {
		before := dump(t, db)
		if err := Replay(db, early); !errors.Is(err, ErrGap) {
			t.Errorf("delta %d..%d on revision 5: error %v, want ErrGap", early.Base, early.Last, err)
		}
		if diff := cmp.Diff(before, dump(t, db)); diff != "" {
			t.Errorf("a refused delta changed the database:\n%s", diff)
		}
	}
	for _, d := range []*Delta{a, b, c} {
		if err := Replay(db, d); err != nil {
			t.Fatal(err)
		}
	}
	done := dump(t, db)
	for _, again := range []*Delta{a, b, c, a} {
		if err := Replay(db, again); err != nil {
			t.Errorf("delta %d..%d again: %v", again.Base, again.Last, err)
		}
	}
	if diff := cmp.Diff(done, dump(t, db)); diff != "" {
		t.Errorf("replaying what is there changed the database:\n%s", diff)
	}
}

// Two members that followed the same backup cut at other places.
func TestReplayTakesWhatIsMissing(t *testing.T) {
	whole := sample(random(4), 5, 20)
	want, got := database(t, 5), database(t, 5)
	if err := Replay(want, whole); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Delta{part(whole, 5, 12), part(whole, 8, 15), part(whole, 7, 14), part(whole, 15, 25)} {
		d.Leases = whole.Leases
		if err := Replay(got, d); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(dump(t, want), dump(t, got)); diff != "" {
		t.Error(diff)
	}
}

// A compaction between Base and the database's revision has removed what the delta still has.
func TestReplayBringsBackNothingThatWasCompacted(t *testing.T) {
	d := sample(random(4), 5, 20)
	db := database(t, 8)
	if err := Replay(db, d); err != nil {
		t.Fatal(err)
	}
	for _, line := range dump(t, db) {
		if strings.HasPrefix(line, "key ") && line < "key 0000000000000008" {
			t.Errorf("%s was compacted", line)
		}
	}
}

func part(d *Delta, base, last int64) *Delta {
	out := &Delta{Header: d.Header}
	for _, e := range d.Changes {
		if e.Kv.ModRevision > base && e.Kv.ModRevision <= last {
			out.Changes = append(out.Changes, e)
		}
	}
	out.Base, out.Last, out.Events = base, last, len(out.Changes)
	return out
}

func TestReplayRefusesWhatIsNotWhole(t *testing.T) {
	d := sample(random(5), 5, 6)
	d.Changes = d.Changes[1:]
	d.Events--
	d.Changes[0].Kv.ModRevision++
	db := database(t, 5)
	before := dump(t, db)
	if err := Replay(db, d); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v, want ErrDamaged", err)
	}
	if diff := cmp.Diff(before, dump(t, db)); diff != "" {
		t.Error(diff)
	}
}

func TestReplayPlacesChangesAsEtcdDoes(t *testing.T) {
	d := &Delta{Header: Header{Base: 5, Last: 7, Events: 4, Settled: true}, Changes: []mvccpb.Event{
		{Kv: &mvccpb.KeyValue{Key: []byte("a"), Value: []byte("1"), CreateRevision: 6, ModRevision: 6, Version: 1, Lease: 9}},
		{Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: []byte("b"), ModRevision: 6}},
		{Kv: &mvccpb.KeyValue{Key: []byte("c"), CreateRevision: 3, ModRevision: 6, Version: 2}},
		{Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: []byte("a"), ModRevision: 7}},
	}, Leases: []Lease{{ID: 9, TTL: 60, Remaining: 60}, {ID: 10, TTL: 600, Remaining: 30}, {ID: 11, TTL: 600}}}
	db := database(t, 5)
	if err := Replay(db, d); err != nil {
		t.Fatal(err)
	}
	tomb := func(key string) []byte { raw, _ := (&mvccpb.KeyValue{Key: []byte(key)}).Marshal(); return raw }
	value := func(i int) []byte { raw, _ := d.Changes[i].Kv.Marshal(); return raw }
	lease := func(l leasepb.Lease) []byte { raw, _ := l.Marshal(); return raw }
	const zeros = "0000000000000000"
	want := []string{
		fmt.Sprintf("key 00000000000000055f%s 78", zeros),
		fmt.Sprintf("key 00000000000000065f%s %x", zeros, value(0)),
		fmt.Sprintf("key 00000000000000065f000000000000000174 %x", tomb("b")),
		fmt.Sprintf("key 00000000000000065f0000000000000002 %x", value(2)),
		fmt.Sprintf("key 00000000000000075f%s74 %x", zeros, tomb("a")),
		fmt.Sprintf("lease 0000000000000009 %x", lease(leasepb.Lease{ID: 9, TTL: 60})),
		fmt.Sprintf("lease 000000000000000a %x", lease(leasepb.Lease{ID: 10, TTL: 600, RemainingTTL: 30})),
		fmt.Sprintf("lease 000000000000000b %x", lease(leasepb.Lease{ID: 11, TTL: 600, RemainingTTL: 1})),
	}
	if diff := cmp.Diff(want, dump(t, db)); diff != "" {
		t.Error(diff)
	}
}

func TestReplayKeepsLeasesWhileCatchingUp(t *testing.T) {
	d := sample(random(6), 5, 2)
	d.Settled, d.Leases = false, []Lease{{ID: 2, TTL: 5, Remaining: 5}}
	db := database(t, 5)
	if err := Replay(db, d); err != nil {
		t.Fatal(err)
	}
	var ids []uint64
	_ = db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(leaseBucket).ForEach(func(k, _ []byte) error {
			ids = append(ids, binary.BigEndian.Uint64(k))
			return nil
		})
	})
	if diff := cmp.Diff([]uint64{1, 2, 9}, ids); diff != "" {
		t.Error(diff)
	}
}

func TestRevision(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(tx *bbolt.Tx) error
		want    int64
		fails   bool
	}{
		"empty": {func(*bbolt.Tx) error { return nil }, 1, false},
		"a deletion": {func(tx *bbolt.Tx) error {
			return tx.Bucket(keyBucket).Put(appendRevision(nil, 8, 3, true), nil)
		}, 8, false},
		"compacted further": {func(tx *bbolt.Tx) error {
			return tx.Bucket(metaBucket).Put(compactions[1], appendRevision(nil, 12, 0, false))
		}, 12, false},
		"a key that is none": {func(tx *bbolt.Tx) error {
			return tx.Bucket(keyBucket).Put(bytes.Repeat([]byte{1}, revisionSize), nil)
		}, 0, true},
		"a negative revision": {func(tx *bbolt.Tx) error {
			return tx.Bucket(keyBucket).Put(appendRevision(nil, -1, 0, false), nil)
		}, 0, true},
		"a mark that is none": {func(tx *bbolt.Tx) error {
			return tx.Bucket(metaBucket).Put(compactions[0], []byte("12"))
		}, 0, true},
		"no keys at all": {func(tx *bbolt.Tx) error { return tx.DeleteBucket(keyBucket) }, 0, true},
	} {
		db := database(t, 1)
		var got int64
		err := db.Update(func(tx *bbolt.Tx) error {
			if err := c.prepare(tx); err != nil {
				return err
			}
			var err error
			got, err = Revision(tx)
			return err
		})
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
}
