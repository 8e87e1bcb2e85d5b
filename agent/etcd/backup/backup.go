// Package backup is what backups of etcd look like in the store: their names, their manifests, and how they are listed.
//
//	etcd/<cluster>/backups/<generation>/<time>-<revision>/snapshot.zst   one zstd frame a chunk
//	etcd/<cluster>/backups/<generation>/<time>-<revision>/manifest.json  written last, and then the backup counts
//	etcd/<cluster>/backups/<generation>/<time>-<revision>/deltas/<first>-<last>.zst
//
// Within a generation backups are ordered by revision, never by time: clocks are wrong now and then.
//
// A Taker takes them, Verify reads them back, Plan and Prune drop the old ones. snapshot.zst is a concatenation of frames,
// so that `zstd -d` and `etcdutl snapshot restore --skip-hash-check` restore it without this agent.
package backup

import (
	"fmt"
	"time"
)

// ChunkSize is how many bytes of the database one chunk holds; the last one has the rest.
const ChunkSize = 8 << 20

// ManifestVersion is the format that this agent writes; newer ones it refuses.
const ManifestVersion = 1

// Manifest describes a snapshot.
type Manifest struct {
	Version    int       `json:"version"`
	Cluster    string    `json:"cluster"` // main or events
	UID        string    `json:"uid"`     // of the lineage
	Generation int       `json:"generation"`
	Member     string    `json:"member"`    // who was asked
	Taken      time.Time `json:"taken"`     // by the clock of that node
	ClusterID  string    `json:"clusterID"` // etcd's own, in hexadecimal
	Members    int       `json:"members"`   // voters when it was taken

	EtcdVersion     string `json:"etcdVersion"`    // of the server, "3.6.16"
	StorageVersion  string `json:"storageVersion"` // of the database, "3.6.0"; empty before 3.6
	Revision        int64  `json:"revision"`       // exact, read from the file
	CompactRevision int64  `json:"compactRevision"`
	Keys            int64  `json:"keys"` // revisions of keys in the file, those of deletions included

	Size   int64   `json:"size"`   // bytes of the database, without the sum that etcd appends to a snapshot
	SHA256 string  `json:"sha256"` // etcd's own sum, compared when the backup was taken
	Stored int64   `json:"stored"` // bytes of snapshot.zst
	Chunks []Chunk `json:"chunks"`
}

// Span is where a chunk lies in the database, in bytes.
func (m *Manifest) Span(chunk int) (offset, length int64) {
	offset = int64(chunk) * ChunkSize
	return offset, min(ChunkSize, m.Size-offset)
}

// Chunk is one zstd frame in snapshot.zst. Its place in the database follows from its place in the list. Both digests are
// of the database's bytes; a reader uses the one that its CPU does faster.
type Chunk struct {
	Offset int64  `json:"offset"` // in snapshot.zst
	Length int64  `json:"length"` // in snapshot.zst
	SHA256 string `json:"sha256"`
	BLAKE3 string `json:"blake3"`
}

const timeLayout = "20060102T150405Z"

// Prefix is where all backups of a cluster lie.
func Prefix(cluster string) string { return "etcd/" + cluster + "/backups/" }

// ID names a backup: "<generation>/<time>-<revision>".
func ID(generation int, taken time.Time, revision int64) string {
	return fmt.Sprintf("%d/%s-%d", generation, taken.UTC().Format(timeLayout), revision)
}

// Entry is a backup as a listing shows it; whether it is good takes its manifest.
type Entry struct {
	Cluster    string
	ID         string
	Generation int
	Taken      time.Time
	Revision   int64
	Complete   bool         // it has a manifest, and the snapshot that belongs to it
	Stored     int64        // bytes of all its objects
	Snapshot   int64        // bytes of snapshot.zst; 0 without one
	Modified   time.Time    // of its manifest, without one of its last object, by the store's clock
	Deltas     []DeltaEntry // by Base, then Last
}

// DeltaEntry is one delta in a listing: the revisions after Base (exclusive) up to Last (inclusive).
type DeltaEntry struct {
	Key    string
	Base   int64
	Last   int64
	Stored int64
}

// The names of a backup's objects.
const (
	snapshotName = "snapshot.zst"
	manifestName = "manifest.json"
	deltasDir    = "deltas/"
)

// SnapshotKey is where the database lies.
func (e Entry) SnapshotKey() string { return e.Key(snapshotName) }

// ManifestKey is where its manifest lies.
func (e Entry) ManifestKey() string { return e.Key(manifestName) }

// Key is the key of one of its objects.
func (e Entry) Key(name string) string { return Prefix(e.Cluster) + e.ID + "/" + name }

// DeltaKey is where the delta of the revisions after base up to last lies.
func (e Entry) DeltaKey(base, last int64) string {
	return e.Key(deltasDir + fmt.Sprintf("%020d-%020d.zst", base, last))
}

// Reaches is the revision that a restore of this backup arrives at: its own and that of its deltas, as far as they are
// contiguous.
func (e Entry) Reaches() int64 {
	last := e.Revision
	for _, d := range e.Deltas { // sorted by Base, then Last
		if d.Base <= last && d.Last > last {
			last = d.Last
		}
	}
	return last
}
