package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// Two that take the same backup at the same moment end with one that is whole, whoever of them believes to have taken it; if
// their etcds sent different bytes, only one believes so.
func TestTwoTakers(t *testing.T) {
	raw := sample(t)
	body := bytes.Clone(raw[:len(raw)-sha256.Size])
	body[len(body)-1] ^= 1 // in the unused end of the last page: another file, the same database
	for name, other := range map[string][]byte{"the same bytes": raw, "other bytes": summed(body)} {
		same := bytes.Equal(raw, other)
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			barrier := newBarrier(2)
			var wins atomic.Int32
			var both sync.WaitGroup
			for _, raw := range [][]byte{raw, other} {
				o := options(t, replay(raw), s)
				o.Workers = 1
				o.Fence = func(context.Context) error { barrier.wait(time.Minute); return nil }
				both.Go(func() {
					defer barrier.leave()
					_, _, err := taker(t, o).Take(t.Context())
					if err == nil {
						wins.Add(1)
					} else if same {
						t.Error(err)
					}
				})
			}
			both.Wait()
			entries, err := List(t.Context(), s, "main")
			if err != nil || len(entries) != 1 || !entries[0].Complete {
				t.Fatalf("listed %+v, %v", entries, err)
			}
			if _, err := Verify(t.Context(), s, entries[0], nil); err != nil {
				t.Error(err)
			}
			if n := wins.Load(); (n == 2) != same || n == 0 {
				t.Errorf("%d believe to have taken it", n)
			}
		})
	}
}

// barrier holds those who come until all who are left have come.
type barrier struct {
	mu      sync.Mutex
	missing int
	open    chan struct{}
}

func newBarrier(n int) *barrier { return &barrier{missing: n, open: make(chan struct{})} }

func (b *barrier) wait(limit time.Duration) {
	b.leave()
	select {
	case <-b.open:
	case <-time.After(limit):
	}
}

func (b *barrier) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.missing--; b.missing == 0 {
		close(b.open)
	}
}

// However large the database: a few chunks are in memory.
func TestMemory(t *testing.T) {
	const size = 128 << 20
	raw, err := os.Open(bigDatabase(t, size))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	s := newStore(t)
	etcd := &source{status: healthy(size), snapshot: summedFile(raw)}
	o := options(t, etcd, s)
	o.Workers = 1
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	peak := watchHeap(t)
	entry, manifest, err := taker(t, o).Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Size < size {
		t.Fatalf("the database has %d bytes", manifest.Size)
	}
	if _, err := Verify(t.Context(), s, entry, nil); err != nil {
		t.Error(err)
	}
	if got := peak(); got > 96<<20 {
		t.Errorf("%d MiB in memory for a database of %d", got>>20, manifest.Size>>20)
	} else {
		t.Logf("%d MiB in memory for a database of %d", got>>20, manifest.Size>>20)
	}
}

// bigDatabase looks like etcd's, as far as a backup reads it.
func bigDatabase(t *testing.T, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(value[:64<<10])
	for written := 0; written < size; written += 16 << 20 {
		err := db.Update(func(tx *bolt.Tx) error {
			var keys *bolt.Bucket
			for _, name := range [][]byte{schema.Meta.Name(), schema.Members.Name(), schema.Key.Name()} {
				made, err := tx.CreateBucketIfNotExists(name)
				if err != nil {
					return err
				}
				keys = made
			}
			for i := range 16 {
				revision := mvcc.Revision{Main: int64(written>>20 + i + 2)}
				if err := keys.Put(mvcc.RevToBytes(revision, mvcc.NewRevBytes()), value); err != nil {
					return err
				}
			}
			return tx.Bucket(schema.Members.Name()).Put([]byte("1"), []byte(`{"id":1,"peerURLs":["http://a"]}`))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
