package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// contents is what only the database itself can say about a snapshot: etcd sends none of it along (etcd#9037).
type contents struct {
	revision, compact int64
	keys              int64 // revisions
	voters            int
	storage           string // version
}

// inspect walks a database file. It is open already and may have no name any more. Torn pages are an error, not a crash.
func inspect(file *os.File) (c contents, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if torn := recover(); torn != nil {
			err = fmt.Errorf("database: torn: %v", torn)
		}
	}()
	reopen := func(string, int, os.FileMode) (*os.File, error) {
		return os.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	}
	db, err := bolt.Open(file.Name(), 0o400, &bolt.Options{ReadOnly: true, Timeout: time.Minute, OpenFile: reopen})
	if err != nil {
		return contents{}, fmt.Errorf("database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.View(func(tx *bolt.Tx) error { return c.read(tx) }); err != nil {
		return contents{}, fmt.Errorf("database: %w", err)
	}
	return c, nil
}

func (c *contents) read(tx *bolt.Tx) error {
	meta, keys, members := tx.Bucket(schema.Meta.Name()), tx.Bucket(schema.Key.Name()), tx.Bucket(schema.Members.Name())
	if meta == nil || keys == nil || members == nil {
		return errors.New("not etcd's: a bucket is missing")
	}
	if version := schema.ReadStorageVersionFromSnapshot(tx); version != nil {
		c.storage = version.String()
	}
	for _, name := range [][]byte{schema.ScheduledCompactKeyName, schema.FinishedCompactKeyName} {
		if value := meta.Get(name); value != nil {
			c.compact = max(c.compact, mvcc.BytesToRev(value).Main)
		}
	}
	if err := c.readKeys(keys); err != nil {
		return err
	}
	return members.ForEach(func(id, value []byte) error {
		var member membership.Member
		if err := json.Unmarshal(value, &member); err != nil {
			return fmt.Errorf("member %s: %w", id, err)
		}
		if !member.IsLearner {
			c.voters++
		}
		return nil
	})
}

// readKeys finds the revision that etcd would start with: a fresh store has 1, and after a compaction of everything up to
// the present no key may be left.
func (c *contents) readKeys(keys *bolt.Bucket) error {
	c.revision = max(1, c.compact)
	var last mvcc.Revision
	cursor := keys.Cursor()
	for key, _ := cursor.First(); key != nil; key, _ = cursor.Next() {
		revision := mvcc.BytesToRev(key)
		if !revision.GreaterThan(last) {
			return fmt.Errorf("revision %d follows %d: the keys are out of order", revision.Main, last.Main)
		}
		last = revision
		c.keys++
	}
	c.revision = max(c.revision, last.Main)
	return nil
}
