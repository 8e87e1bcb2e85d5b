// Package restore makes a data directory of one member from a backup. The result equals what `etcdutl snapshot restore`
// makes of the same input; docs/decisions/009-restore.md says how it gets there without etcdutl's copies.
package restore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/store"
)

// Bump is how much a restore raises the revision, so that it is higher than any that a client has seen since the backup:
// enough for a week at 1,500 writes a second (https://etcd.io/docs/v3.6/op-guide/recovery/).
const Bump = 1_000_000_000

// What a caller branches on. After any other error the same restore may succeed later.
var (
	// ErrCorrupt says that this backup is bad, and will be: an older one has to do.
	ErrCorrupt = errors.New("the backup is corrupt")
	// ErrNewer says that a newer agent or etcd made this backup. It is good, but not for us.
	ErrNewer = errors.New("the backup is newer than what would restore it")
)

// Order says what to restore, and as whom.
type Order struct {
	Backup backup.Entry // snapshot and, as far as they are contiguous, deltas
	Dir    string       // becomes etcd's data directory; must not exist. It is built in Part and renamed.
	Part   string       // on the same file system as Dir; what lies there is replaced

	Name    string // of the member
	PeerURL string
	Token   string

	Bump uint64   // 0: revisions stay as they are, and nothing is marked compacted
	Drop []string // prefixes of keys that are deleted after the restore: /registry/masterleases/

	MaxEtcd  string // the etcd that will run, "3.6.16"; a backup of a newer minor is refused
	Parallel int    // ranges read at once; 0: 8

	Move     bool                    // FromFile takes the file, also when it fails: a copy that nobody else needs
	Log      *slog.Logger            // what is tried again, and why; nil: nobody is told
	Progress func(done, total int64) // bytes of the database, from several goroutines; may be nil
}

// Result is what came out.
type Result struct {
	Manifest backup.Manifest // zero after FromFile
	Reached  int64           // the backup's revision with its deltas
	Revision int64           // the database's now: Reached + Bump, and the deletions
	Keys     int64           // revisions of keys in the database, tombstones included
	Dropped  int64           // keys that Order.Drop deleted
	Bytes    int64           // of the database
	Fetched  int64           // bytes read from the store
	Warnings []string        // what the operator should know, though the data directory is sound
	Took     Spans
}

// Spans is where the time went. Verify and Sync overlap.
type Spans struct{ Fetch, Deltas, Rewrite, Verify, Sync time.Duration }

// Restore makes o.Dir from a backup. It rides out an unreachable store until ctx ends, so ctx should have a deadline. When
// it fails, o.Part is gone and nothing else was touched; a crash leaves no o.Dir, or a whole one.
func Restore(ctx context.Context, blobs store.Blobs, o Order) (Result, error) {
	return newBuild(o).restore(ctx, blobs)
}

// FromFile makes o.Dir from a database file: one that lay in a data directory whose etcd is stopped, or a snapshot as
// `etcdctl snapshot save` writes it, whose sum is then compared. o.Backup is not used. The file stays as it is, unless o.Move.
// A file that something has open as a database is refused.
func FromFile(ctx context.Context, db string, o Order) (Result, error) {
	return newBuild(o).fromFile(ctx, db)
}
