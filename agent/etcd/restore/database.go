package restore

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"rekindle/agent/etcd/delta"
)

// database is the database in Part. It is opened once: opening means walking all its pages to find the free ones, which
// etcdutl does up to four times.
type database struct {
	*bbolt.DB
	path string
}

// open opens the database that was fetched, and checks that it is etcd's, of a version that will run, at the manifest's revision.
func (b *build) open() (*database, error) {
	if err := b.step("open db"); err != nil {
		return nil, err
	}
	if err := checkPages(b.dbFile()); err != nil {
		return nil, err
	}
	// Nothing is synced before the end: until Part is renamed a crash leaves nothing that counts.
	db, err := bbolt.Open(b.dbFile(), 0o600, &bbolt.Options{
		Timeout: 10 * time.Second, NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.dbFile(), err)
	}
	d := &database{db, b.dbFile()}
	if err := db.View(b.known); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *database) close() error {
	if d == nil {
		return nil
	}
	return d.DB.Close()
}

// known tells whether we know what to do with a database.
func (b *build) known(tx *bbolt.Tx) error {
	for _, name := range [][]byte{schema.Key.Name(), schema.Meta.Name(), schema.Members.Name(), schema.MembersRemoved.Name()} {
		if tx.Bucket(name) == nil {
			return corrupt("a database without the bucket %s is not etcd's", name)
		}
	}
	if v := schema.ReadStorageVersionFromSnapshot(tx); v != nil {
		if err := b.runs(v.String()); err != nil {
			return err
		}
	}
	at, err := delta.Revision(tx)
	if err != nil {
		return corrupt("database: %w", err)
	}
	if m := b.result.Manifest; m.Version != 0 && m.Revision != at {
		return corrupt("the database is at revision %d, and its manifest says %d", at, m.Revision)
	}
	b.result.Reached = at
	return nil
}

// alarms are what etcd would raise again at once: they travel with the database, as with etcdutl's restore.
func (b *build) alarms(tx *bbolt.Tx) {
	bucket := tx.Bucket(schema.Alarm.Name())
	if bucket == nil {
		return
	}
	if n := bucket.Stats().KeyN; n > 0 {
		b.warn("the database carries %d alarms, and etcd may refuse writes: etcdctl alarm list, then defragment and etcdctl alarm disarm", n)
	}
}

func (b *build) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.Log.Warn(text, "backup", b.Backup.ID)
	b.result.Warnings = append(b.result.Warnings, text)
}

// syncDir makes renames in a directory last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
