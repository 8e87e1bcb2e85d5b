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

	"rekindle/agent/etcd/backup"
	"rekindle/agent/status"
	"rekindle/test/lab/node"
	"rekindle/test/s3"
)

// A backup that the store has damaged is passed over, and said so.
func TestDamagedBackup(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
	} {
		t.Run(name, func(t *testing.T) {
			survive(t, Shape{Masters: 1}, func(ctx context.Context, c *Cluster) {
				nodes := c.Ready(ctx, 1)
				client := c.Client(nodes...)
				written := c.Write(ctx, client, "first", 20)
				before := c.Read(ctx, client)
				c.Stored(ctx, before.Revision)
				older := c.Backups(ctx)[0]
				newer := c.Take(ctx, nodes[0])
				c.damage(ctx, newer.SnapshotKey(), damage)
				c.End(nodes[0])
				fresh := c.Ready(ctx, 1)
				client = c.Client(fresh...)
				c.Read(ctx, client).Holds(t, written)
				c.Generation(2)
				s := c.Says(ctx, fresh[0], "what it built", func(_ *status.Status, e *status.Etcd) bool { return e.Built != nil })
				built := s.Etcd[0].Built
				if built.Backup != older.ID || !strings.Contains(strings.Join(built.Warnings, "\n"), newer.ID) {
					t.Errorf("built of %s with warnings %q; want of %s and that %s is corrupt", built.Backup, built.Warnings, older.ID, newer.ID)
				}
				t.Logf("measured: restored %s, %s", built.Backup, built.Warnings)
			})
		})
	}
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

// Take takes a full backup beside the agent's own, which reaches at least as far.
func (c *Cluster) Take(ctx context.Context, n *node.Node) backup.Entry {
	c.t.Helper()
	client := c.Client(n)
	c.Write(ctx, client, "between", 1)
	blobs, err := c.Store(store)
	if err != nil {
		c.t.Fatal(err)
	}
	record := c.Lineage()
	taker, err := backup.NewTaker(backup.Options{
		Etcd: client, Blobs: blobs, Records: blobs, Cluster: "main", UID: record.UID, Generation: record.Generation,
		Member: record.Members[0].Name, SpoolDir: c.t.TempDir(), Fence: func(context.Context) error { return nil },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	entry, _, err := taker.Take(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return entry
}

// A backup of an etcd that is newer than the one that would run is refused, whatever else there is, and by name. Once the
// backup is gone the older one does.
func TestNewerBackup(t *testing.T) {
	survive(t, Shape{Masters: 1}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 1)
		client := c.Client(nodes...)
		written := c.Write(ctx, client, "first", 20)
		c.Stored(ctx, c.Read(ctx, client).Revision)
		newer := c.Take(ctx, nodes[0])
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
		fresh, err := c.AwaitMembers(ctx, c.group(), 1)
		if err != nil {
			t.Fatal(err)
		}
		said := c.waits(ctx, fresh[0], func(said string) bool {
			return strings.Contains(said, "etcd 3.9.0 wrote it") && strings.Contains(said, newer.ID)
		})
		if record := c.Lineage(); record.State != "restoring" || record.Generation != 2 {
			t.Errorf("%+v", record)
		}
		if err := c.EmptyStore(ctx, store, strings.TrimSuffix(newer.ManifestKey(), "manifest.json")); err != nil {
			t.Fatal(err)
		}
		c.Ready(ctx, 1)
		c.Read(ctx, c.Client(fresh...)).Holds(t, written)
		c.Generation(2)
		t.Logf("measured: %s", said)
	})
}

// A node whose clock is off by an hour is nothing that a laboratory on one machine can have. What such a clock leaves behind,
// backups with a wrong time, and how they are ordered, are in agent/etcd/backup: TestCandidates and TestDue.
func TestClockOffByAnHour(t *testing.T) {
	t.Skip("skipped: all nodes of a laboratory have the machine's clock")
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
