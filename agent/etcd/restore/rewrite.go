package restore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// rewrite makes the database that of a new cluster of one member, in one transaction: what `etcdutl snapshot restore` does
// in saveDB, modifyLatestRevision, saveWALAndSnap and updateCIndex (etcdutl/v3/snapshot, 3.6.16).
func (b *build) rewrite(ctx context.Context, db *database) error {
	if err := b.step("rewrite db"); err != nil {
		return err
	}
	err := db.Update(func(tx *bbolt.Tx) error {
		b.alarms(tx)
		return errors.Join(b.members(tx), b.bump(tx), b.drop(ctx, tx), b.index(tx))
	})
	if err != nil {
		return fmt.Errorf("%s: %w", db.path, err)
	}
	return nil
}

// members replaces the members of the old cluster.
func (b *build) members(tx *bbolt.Tx) error {
	for _, bucket := range []*bbolt.Bucket{tx.Bucket(schema.Members.Name()), tx.Bucket(schema.MembersRemoved.Name())} {
		var ids [][]byte
		err := bucket.ForEach(func(id, _ []byte) error { // which must not change the bucket
			ids = append(ids, bytes.Clone(id))
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := bucket.Delete(id); err != nil {
				return err
			}
		}
	}
	value, err := json.Marshal(b.member)
	if err != nil {
		return err
	}
	return tx.Bucket(schema.Members.Name()).Put(schema.BackendMemberKey(b.member.ID), value)
}

// bump raises the revision and marks everything up to it compacted, so that watches break instead of missing events
// (etcd#16028). The raised revision holds an empty key, as etcdutl's does; etcd takes it away with its first compaction.
func (b *build) bump(tx *bbolt.Tx) error {
	b.result.Revision = b.result.Reached
	if b.Bump == 0 {
		return nil
	}
	b.result.Revision += int64(b.Bump)
	key := revision(b.result.Revision, 0)
	if err := tx.Bucket(schema.Key.Name()).Put(key, []byte{}); err != nil {
		return err
	}
	return tx.Bucket(schema.Meta.Name()).Put(schema.ScheduledCompactKeyName, key)
}

// index makes the database agree with the log that was written beside it.
func (b *build) index(tx *bbolt.Tx) error {
	meta := tx.Bucket(schema.Meta.Name())
	return errors.Join(
		meta.Put(schema.MetaConsistentIndexKeyName, binary.BigEndian.AppendUint64(nil, firstIndex)),
		meta.Put(schema.MetaTermKeyName, binary.BigEndian.AppendUint64(nil, firstTerm)))
}

// revision is a revision as a key of the bucket of keys.
func revision(main, sub int64) []byte {
	return mvcc.RevToBytes(mvcc.Revision{Main: main, Sub: sub}, mvcc.NewRevBytes())
}
