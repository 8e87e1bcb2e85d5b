package survival

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/status"
	"rekindle/test/lab/node"
	"rekindle/test/s3"
)

// A backup of an etcd that is newer than the one that would run is refused, whatever else there is, and by name. Once it is gone,
// backups that the store has damaged are passed over, and said so, and the next one is restored.
func TestBackupsThatDoNotServe(t *testing.T) {
	survive(t, Shape{Masters: 1}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 1)
		client := c.Client(nodes...)
		c.Write(ctx, client, "first", 20)
		c.Stored(ctx, 1)
		c.Write(ctx, client, "second", 1) // in the deltas, so that whatever is taken now comes before the agent's own
		before := c.Read(ctx, client)
		c.Stored(ctx, before.Revision)
		good := c.backups(ctx)[0]
		flipped, truncated, newer := c.take(ctx, nodes[0]), c.take(ctx, nodes[0]), c.take(ctx, nodes[0])
		for i, want := range []backup.Entry{newer, truncated, flipped, good} {
			if is := c.backups(ctx)[i]; is.ID != want.ID {
				t.Fatalf("backup %d is %s, want %s", i, is.ID, want.ID)
			}
		}
		// The last byte is in a checksum. A bit further in may change nothing: a match may begin at another zero.
		c.damage(ctx, flipped.SnapshotKey(), func(b []byte) []byte { b[len(b)-1] ^= 4; return b })
		c.damage(ctx, truncated.SnapshotKey(), func(b []byte) []byte { return b[:len(b)/2] })
		c.damage(ctx, newer.ManifestKey(), func(data []byte) []byte {
			var m backup.Manifest
			if err := json.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
			m.EtcdVersion, m.StorageVersion = "3.9.0", "3.9.0"
			data, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			return data
		})
		c.End(nodes...)
		fresh := c.launched(ctx, nodes)
		c.Step("newer", func(t *testing.T) {
			said := c.waits(ctx, fresh, func(said string) bool {
				return strings.Contains(said, "etcd 3.9.0 wrote it") && strings.Contains(said, newer.ID)
			})
			if record := c.Lineage(); record.State != etcd.Restoring || record.Generation != 2 {
				t.Errorf("%+v", record)
			}
			t.Logf("measured: %s", said)
		})
		if err := c.EmptyStore(ctx, store, strings.TrimSuffix(newer.ManifestKey(), "manifest.json")); err != nil {
			t.Fatal(err)
		}
		c.Step("truncated and flipped", func(t *testing.T) {
			c.Ready(ctx, 1)
			c.Restored(ctx, c.Client(fresh), 2, before)
			s := c.Says(ctx, fresh, "what it built", func(_ *status.Status, e *status.Etcd) bool { return e.Built != nil })
			built := s.Etcd[0].Built
			said := strings.Join(built.Warnings, "\n")
			if built.Backup != good.ID || !strings.Contains(said, flipped.ID) || !strings.Contains(said, truncated.ID) {
				t.Errorf("built of %s with warnings %q; want of %s and that %s and %s are corrupt", built.Backup, said, good.ID, flipped.ID, truncated.ID)
			}
			t.Logf("measured: restored %s, %s", built.Backup, said)
		})
	})
}

// backups are those of main that count, the best first.
func (c *Cluster) backups(ctx context.Context) []backup.Entry {
	c.t.Helper()
	blobs, err := c.Store(store)
	if err != nil {
		c.t.Fatal(err)
	}
	entries, err := backup.List(ctx, blobs, "main")
	if err != nil {
		c.t.Fatal(err)
	}
	return backup.Candidates(entries, 1<<30)
}

// damage changes an object of the store.
func (c *Cluster) damage(ctx context.Context, key string, change func([]byte) []byte) {
	c.t.Helper()
	data, err := c.ReadStore(ctx, store, key)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = c.S3.Client().PutObject(ctx, &awss3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(path.Join(prefix, key)), Body: bytes.NewReader(change(bytes.Clone(data))),
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// take takes a full backup beside the agent's own, in another second than the last one: their names say when.
func (c *Cluster) take(ctx context.Context, n *node.Node) backup.Entry {
	c.t.Helper()
	blobs, err := c.Store(store)
	if err != nil {
		c.t.Fatal(err)
	}
	record := c.Lineage()
	taker, err := backup.NewTaker(backup.Options{
		Etcd: c.Client(n), Blobs: blobs, Records: blobs, Cluster: "main", UID: record.UID, Generation: record.Generation,
		Member: record.Members[0].Name, SpoolDir: c.t.TempDir(), Fence: func(context.Context) error { return nil },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	began := time.Now().Truncate(time.Second)
	c.Await(ctx, "another second", func() error { return atLeast(int(time.Since(began)), int(time.Second)) })
	entry, _, err := taker.Take(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return entry
}

// The disk is too small for a restore, and then fills up in the middle of one: nothing is started, it is said, and with more
// room it goes on.
func TestDiskFullInRestore(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("skipped: only root mounts a disk of a given size")
	}
	first := true
	shape := Shape{Masters: 1, Bake: func(c *Cluster, root string) error {
		if first {
			first = false
			return nil
		}
		return c.Small(root, smallDisk)
	}}
	survive(t, shape, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 1)
		client := c.Client(nodes...)
		c.Write(ctx, client, "first", 1)
		c.Stored(ctx, 1) // so that what is filled in comes with the deltas, for which the restore finds no room
		c.fill(ctx, client)
		before := c.Read(ctx, client)
		c.Stored(ctx, before.Revision)
		c.End(nodes...)
		fresh := c.launched(ctx, nodes)
		refused := c.waits(ctx, fresh, func(said string) bool { return strings.Contains(said, "enlarge the volume") })

		slow := c.S3.Faults().Add(s3.Fault{
			Method: http.MethodGet, Path: "/" + bucket + "/" + prefix + "/etcd/main/backups/1/*", Do: s3.Latency(2 * time.Second),
		})
		c.size(largeDisk)
		c.Await(ctx, "a restore has begun", func() error {
			if _, err := os.Stat(fresh.Path("/var/lib/etcd/main/data.part/member/snap/db")); err != nil {
				return err
			}
			return c.tighten(1 << 20)
		})
		full := c.waits(ctx, fresh, func(said string) bool {
			// Refused before anything is written, the error names no step.
			return strings.Contains(said, "no space left on device") && !strings.Contains(said, "data: no space left on device")
		})
		slow.Remove()
		start := time.Now()
		c.size(largeDisk)
		client = c.Client(c.Ready(ctx, 1)...)
		c.Restored(ctx, client, 2, before)
		t.Logf("measured: %v after there was room; before: %s; and %s", time.Since(start).Round(100*time.Millisecond), refused, full)
	})
}

// waits returns for what an agent waits, once that is as wanted.
func (c *Cluster) waits(ctx context.Context, n *node.Node, wanted func(said string) bool) (said string) {
	c.t.Helper()
	c.Says(ctx, n, "what it waits for", func(s *status.Status, _ *status.Etcd) bool {
		return slices.ContainsFunc(s.Waits, func(wait status.Pending) bool {
			said = wait.For
			return wanted(said)
		})
	})
	return said
}

// size gives the small disks another size.
func (c *Cluster) size(bytes int64) {
	c.t.Helper()
	if err := c.resize(bytes); err != nil {
		c.t.Fatal(err)
	}
}
