package restore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/blake3"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/restore/restoretest"
	"rekindle/agent/store"
)

// taken is a backup with deltas that follow it, of a cluster that goes on.
type taken struct {
	blobs  *store.Dir
	entry  backup.Entry
	member *etcdtest.Member
	hash   uint32 // of the living cluster, at its last revision
	last   int64
}

func take(t *testing.T) taken {
	t.Helper()
	cluster := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true})
	client := cluster.Client(t)
	workload(t, client, 11, 60)
	blobs, e := stored(t, snapshotOf(t, client))
	for seed := range uint64(3) {
		workload(t, client, 20+seed, 12) // too short for a compaction
	}
	last, err := client.Put(deadline(t), "/last", "")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := client.HashKV(deadline(t), cluster.Members[0].ClientURL, 0)
	if err != nil {
		t.Fatal(err)
	}
	changes := watched(t, client, e.Revision, last.Header.Revision)
	leases, err := client.Leases(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	var alive []delta.Lease
	for _, l := range leases.Leases {
		alive = append(alive, delta.Lease{ID: int64(l.ID), TTL: 11_000, Remaining: 10_000})
	}
	slices.SortFunc(alive, func(a, b delta.Lease) int { return cmp.Compare(a.ID, b.ID) })
	third := (last.Header.Revision - e.Revision) / 3
	for _, cut := range [][2]int64{{0, third}, {third - 2, third + 3}, {third, 2 * third}, {2 * third, last.Header.Revision - e.Revision}} {
		put(t, blobs, e, e.Revision+cut[0], e.Revision+cut[1], changes, alive)
	}
	entries, err := backup.List(deadline(t), blobs, "main")
	if err != nil || len(entries) != 1 || len(entries[0].Deltas) != 4 {
		t.Fatalf("%+v, %v", entries, err)
	}
	return taken{blobs, entries[0], cluster.New(t), sum.Hash, last.Header.Revision}
}

func watched(t *testing.T, c *clientv3.Client, base, last int64) (all []mvccpb.Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	for at := base; at < last; {
		answer := <-c.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(at+1))
		if answer.Err() != nil {
			t.Fatal(answer.Err())
		}
		for _, event := range answer.Events {
			all, at = append(all, mvccpb.Event(*event)), event.Kv.ModRevision
		}
	}
	return all
}

func put(t *testing.T, blobs *store.Dir, e backup.Entry, base, last int64, all []mvccpb.Event, leases []delta.Lease) {
	t.Helper()
	d := &delta.Delta{Header: delta.Header{Cluster: "main", UID: restoretest.UID, Generation: e.Generation, Base: base, Last: last,
		Taken: time.Now(), Settled: true}, Leases: leases}
	for _, event := range all {
		if event.Kv.ModRevision > base && event.Kv.ModRevision <= last {
			d.Changes = append(d.Changes, event)
		}
	}
	var b bytes.Buffer
	if err := delta.Write(&b, d); err != nil {
		t.Fatal(err)
	}
	if _, err := blobs.Upload(deadline(t), e.DeltaKey(base, last), &b); err != nil {
		t.Fatal(err)
	}
}

// A backup with its deltas is the living cluster, at its own revision, by etcd's own sum and by every key and lease.
func TestDeltas(t *testing.T) {
	t.Parallel()
	b := take(t)
	first, second, third, fourth := b.entry.Deltas[0], b.entry.Deltas[1], b.entry.Deltas[2], b.entry.Deltas[3]
	if second.Base >= third.Base || second.Last <= third.Base {
		t.Fatalf("deltas %+v do not overlap", b.entry.Deltas)
	}
	flip := func(key string, times int) func(n int, k string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
		return func(n int, k string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
			if k == key && n <= times {
				return flipped(b, 300), nil
			}
			return b, nil
		}
	}
	absent := func(key string) func(n int, k string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
		return func(_ int, k string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
			if k == key {
				b.Close()
				return nil, fmt.Errorf("s3://b/%s: %w", k, store.ErrAbsent)
			}
			return b, nil
		}
	}
	for name, c := range map[string]struct {
		change  func(n int, k string, _ int64, b io.ReadCloser) (io.ReadCloser, error)
		edit    func([]backup.DeltaEntry) []backup.DeltaEntry
		reached int64
		warning string
	}{
		"all":                            {flip("", 0), nil, b.last, ""},
		"a bit flipped on the way":       {flip(third.Key, 1), nil, b.last, ""},
		"one damaged that another holds": {flip(second.Key, 9), nil, b.last, "damaged"},
		"one damaged":                    {flip(third.Key, 9), nil, second.Last, "damaged"},
		"the last damaged":               {flip(fourth.Key, 9), nil, third.Last, "damaged"},
		"the first absent":               {absent(first.Key), nil, b.entry.Revision, "none follows"},
		"one that went":                  {absent(third.Key), nil, second.Last, "none follows"},
		"a gap": {flip("", 0), func(all []backup.DeltaEntry) []backup.DeltaEntry {
			return []backup.DeltaEntry{all[0], all[3]}
		}, first.Last, "none follows"},
		"under another name": {flip("", 0), func(all []backup.DeltaEntry) []backup.DeltaEntry {
			return []backup.DeltaEntry{all[0], {Key: all[3].Key, Base: first.Last, Last: b.last}}
		}, first.Last, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			e := b.entry
			if c.edit != nil {
				e.Deltas = c.edit(e.Deltas)
			}
			o := order(t, e)
			o.Name, o.PeerURL = b.member.Name, b.member.PeerURL
			r, err := Restore(deadline(t), &faulty{all: b.blobs, change: c.change}, o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Reached != c.reached || r.Revision != c.reached {
				t.Errorf("reached %d, revision %d; want %d", r.Reached, r.Revision, c.reached)
			}
			if got := strings.Join(r.Warnings, "\n"); c.warning == "" && got != "" || !strings.Contains(got, c.warning) {
				t.Errorf("warnings %q; want %q", got, c.warning)
			}
			if c.reached == b.last {
				if got := hashKV(t, o.Dir); got.Hash != b.hash || got.Revision != b.last {
					t.Errorf("hashkv %+v; the living cluster's is %d at %d", got, b.hash, b.last)
				}
			}
			sound(t, o.Dir)
		})
	}
	t.Run("by a newer agent", func(t *testing.T) {
		o := order(t, b.entry)
		_, err := Restore(deadline(t), &faulty{all: b.blobs, change: newer(third.Key)}, o)
		if err == nil || !strings.Contains(err.Error(), "newer") {
			t.Errorf("error %v", err)
		}
		nothing(t, o)
	})
}

// newer passes a delta off as one of a newer format, with the sum that it would have.
func newer(key string) func(n int, k string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
	return func(_ int, k string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
		if k != key {
			return b, nil
		}
		data, err := io.ReadAll(b)
		if err != nil {
			return nil, err
		}
		data = bytes.Replace(data[:len(data)-32], []byte(`"version":1`), []byte(`"version":9`), 1)
		sum := blake3.Sum256(data)
		return body{bytes.NewReader(append(data, sum[:]...)), b}, nil
	}
}
