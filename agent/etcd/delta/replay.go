package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
)

// The buckets and keys of etcd's database (server/v3/storage/schema).
var (
	keyBucket   = []byte("key")
	leaseBucket = []byte("lease")
	metaBucket  = []byte("meta")

	compactions = [][]byte{[]byte("finishedCompactRev"), []byte("scheduledCompactRev")}
)

// Replay writes a delta into a database that no server has open, as etcd's own storage wrote it when it happened, in one
// transaction: the file is as before or has all of it. A database that is at Last already, or beyond, is left alone; one
// that is between Base and Last gets what it lacks, since within a lineage the same revision is the same write. One that is not
// yet at Base is refused with ErrGap. Whoever replays many into a file that does not count yet opens it with NoSync
// and syncs once.
func Replay(db *bbolt.DB, d *Delta) error {
	if err := d.Check(); err != nil {
		return fmt.Errorf("delta %d..%d: %w", d.Base, d.Last, err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return replay(tx, d) }); err != nil {
		return fmt.Errorf("%s: delta %d..%d: %w", db.Path(), d.Base, d.Last, err)
	}
	return nil
}

func replay(tx *bbolt.Tx, d *Delta) error {
	present, err := Revision(tx)
	if err != nil {
		return err
	}
	if present < d.Base {
		return fmt.Errorf("the database is at revision %d: restore only that far, or find the deltas between: %w", present, ErrGap)
	}
	if present > d.Last || present == d.Last && d.Last > d.Base {
		return nil
	}
	if err := putChanges(tx, d.Changes, present); err != nil {
		return err
	}
	return putLeases(tx, d)
}

// Revision is the revision that etcd would start with: that of the last write in the file, or of the last compaction if
// that is higher, which it is only in a file that an older etcd wrote (etcd-io/etcd#17780).
func Revision(tx *bbolt.Tx) (int64, error) {
	keys := tx.Bucket(keyBucket)
	if keys == nil {
		return 0, errors.New("it has no bucket of keys: this is no database of etcd")
	}
	present := int64(1)
	if last, _ := keys.Cursor().Last(); last != nil {
		rev, err := mainRevision(last)
		if err != nil {
			return 0, err
		}
		present = max(present, rev)
	}
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return present, nil
	}
	for _, name := range compactions {
		if raw := meta.Get(name); raw != nil {
			rev, err := mainRevision(raw)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", name, err)
			}
			present = max(present, rev)
		}
	}
	return present, nil
}

const (
	revisionSize = 8 + 1 + 8
	tombstone    = 't'
)

func mainRevision(raw []byte) (int64, error) {
	if len(raw) != revisionSize && len(raw) != revisionSize+1 || raw[8] != '_' || raw[0]&0x80 != 0 {
		return 0, fmt.Errorf("%x is no revision: the file is damaged, use another backup", raw)
	}
	return int64(binary.BigEndian.Uint64(raw)), nil
}

// appendRevision is the key of a change in the bucket of keys: main revision, place in its transaction, mark of deletion.
func appendRevision(to []byte, main, sub int64, deleted bool) []byte {
	to = binary.BigEndian.AppendUint64(to, uint64(main))
	to = append(to, '_')
	to = binary.BigEndian.AppendUint64(to, uint64(sub))
	if deleted {
		to = append(to, tombstone)
	}
	return to
}

func putChanges(tx *bbolt.Tx, all []mvccpb.Event, present int64) error {
	keys := tx.Bucket(keyBucket)
	keys.FillPercent = 0.9 // as etcd: keys only ever grow
	at, sub := int64(0), int64(0)
	var scratch []byte
	for i := range all {
		kv := all[i].Kv
		if kv.ModRevision <= present {
			continue
		}
		if kv.ModRevision != at {
			at, sub = kv.ModRevision, 0
		}
		deleted := all[i].Type == mvccpb.DELETE
		if deleted {
			kv = &mvccpb.KeyValue{Key: kv.Key} // the watch adds the revision, the storage does not have it
		}
		raw, err := kv.Marshal()
		if err != nil {
			return fmt.Errorf("key %q: %w", kv.Key, err)
		}
		scratch = appendRevision(scratch[:0], at, sub, deleted)
		if err := keys.Put(scratch, raw); err != nil {
			return fmt.Errorf("key %q: %w", kv.Key, err)
		}
		sub++
	}
	return nil
}

func putLeases(tx *bbolt.Tx, d *Delta) error {
	bucket, err := tx.CreateBucketIfNotExists(leaseBucket)
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	alive := make(map[string]bool, len(d.Leases))
	for _, l := range d.Leases {
		key := binary.BigEndian.AppendUint64(nil, uint64(l.ID))
		alive[string(key)] = true
		raw, err := stored(l).Marshal()
		if err != nil {
			return fmt.Errorf("lease %x: %w", l.ID, err)
		}
		if bytes.Equal(bucket.Get(key), raw) {
			continue
		}
		if err := bucket.Put(key, raw); err != nil {
			return fmt.Errorf("lease %x: %w", l.ID, err)
		}
	}
	if !d.Settled {
		return nil
	}
	return dropLeases(bucket, alive)
}

// stored is a lease as etcd keeps it: a RemainingTTL of zero means all of it.
func stored(l Lease) *leasepb.Lease {
	kept := &leasepb.Lease{ID: l.ID, TTL: l.TTL}
	if l.Remaining < l.TTL {
		kept.RemainingTTL = max(1, l.Remaining)
	}
	return kept
}

func dropLeases(bucket *bbolt.Bucket, alive map[string]bool) error {
	var gone [][]byte
	err := bucket.ForEach(func(key, _ []byte) error {
		if !alive[string(key)] {
			gone = append(gone, bytes.Clone(key))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	for _, key := range gone {
		if err := bucket.Delete(key); err != nil {
			return fmt.Errorf("lease %x: %w", key, err)
		}
	}
	return nil
}
