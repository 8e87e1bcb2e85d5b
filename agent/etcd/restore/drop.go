package restore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// drop deletes the keys below the order's prefixes, at one new revision, as one transaction of a client would.
func (b *build) drop(ctx context.Context, tx *bbolt.Tx) error {
	if len(b.Drop) == 0 {
		return nil
	}
	keys := tx.Bucket(schema.Key.Name())
	live, err := b.below(ctx, keys)
	if err != nil {
		return err
	}
	b.result.Dropped = int64(len(live))
	if len(live) == 0 {
		return nil
	}
	b.result.Revision++
	for sub, key := range live {
		value, err := (&mvccpb.KeyValue{Key: []byte(key)}).Marshal()
		if err != nil {
			return err
		}
		tombstone := append(revision(b.result.Revision, int64(sub)), 't')
		if err := keys.Put(tombstone, value); err != nil {
			return err
		}
	}
	return nil
}

// below lists the keys below the prefixes that exist, sorted. The bucket is in the order of revisions, so all of it has to be
// looked at; but only at where a key begins.
func (b *build) below(ctx context.Context, keys *bbolt.Bucket) ([]string, error) {
	live := make(map[string]struct{})
	cursor := keys.Cursor()
	n := 0
	for rev, value := cursor.First(); rev != nil; rev, value = cursor.Next() {
		if n++; n%100_000 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		key, err := keyOf(value)
		if err != nil {
			return nil, fmt.Errorf("revision %x: %w", rev, err)
		}
		switch {
		case !slices.ContainsFunc(b.Drop, func(prefix string) bool { return bytes.HasPrefix(key, []byte(prefix)) }):
		case mvcc.IsTombstone(rev):
			delete(live, string(key))
		default:
			live[string(key)] = struct{}{}
		}
	}
	return slices.SortedFunc(maps.Keys(live), strings.Compare), nil
}

// keyOf is the key in a stored mvccpb.KeyValue, which etcd writes first, without unmarshalling the rest.
func keyOf(value []byte) ([]byte, error) {
	if len(value) == 0 {
		return nil, nil // a revision that was bumped
	}
	const keyField = 1<<3 | 2 // field 1, with a length
	if value[0] == keyField {
		length, n := binary.Uvarint(value[1:])
		if n > 0 && length <= uint64(len(value)-1-n) {
			return value[1+n:][:length], nil
		}
	}
	var kv mvccpb.KeyValue
	if err := kv.Unmarshal(value); err != nil {
		return nil, corrupt("%w", err)
	}
	return kv.Key, nil
}
