// Package restore makes a data directory of one member from a backup. The result equals what `etcdutl snapshot restore`
// makes of the same input.
package restore

import (
	"time"

	"rekindle/agent/etcd/backup"
)

// Bump is how much a restore raises the revision, so that it is higher than any that a client has seen since the backup:
// enough for a week at 1,500 writes a second (https://etcd.io/docs/v3.6/op-guide/recovery/).
const Bump = 1_000_000_000

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
}

// Result is what came out.
type Result struct {
	Manifest backup.Manifest
	Reached  int64 // the backup's revision with its deltas
	Revision int64 // the database's now: Reached + Bump, and the deletions
	Keys     int64
	Bytes    int64 // of the database
	Fetched  int64 // bytes read from the store
	Took     Spans
}

// Spans is where the time went.
type Spans struct{ Fetch, Deltas, Rewrite, Verify, Sync time.Duration }
