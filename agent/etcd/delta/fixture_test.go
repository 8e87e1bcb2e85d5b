package delta

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"rekindle/agent/store"
)

// blobs is a store in memory that does as it is told.
type blobs struct {
	mu      sync.Mutex
	objects map[string][]byte
	uploads int
	before  func(ctx context.Context, key string) error // before an object is written
	after   func(key string) error                      // when it is written: the answer is lost
}

func newBlobs() *blobs { return &blobs{objects: map[string][]byte{}} }

func (b *blobs) Upload(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
	b.mu.Lock()
	b.uploads++
	before, after := b.before, b.after
	b.mu.Unlock()
	if before != nil {
		if err := before(ctx, key); err != nil {
			return store.Blob{}, err
		}
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return store.Blob{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.objects[key]; ok {
		return store.Blob{}, store.ErrConflict
	}
	b.objects[key] = raw
	if after != nil {
		return store.Blob{}, after(key)
	}
	return store.Blob{Key: key, Size: int64(len(raw))}, nil
}

func (b *blobs) Open(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	raw, ok := b.objects[key]
	if !ok {
		return nil, store.ErrAbsent
	}
	if offset != 0 || length != 0 {
		return nil, errors.New("deltas are read whole")
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

func (b *blobs) Blobs(_ context.Context, prefix string) ([]store.Blob, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []store.Blob
	for key, raw := range b.objects {
		if strings.HasPrefix(key, prefix) {
			all = append(all, store.Blob{Key: key, Size: int64(len(raw))})
		}
	}
	slices.SortFunc(all, func(x, y store.Blob) int { return strings.Compare(x.Key, y.Key) })
	return all, nil
}

func (b *blobs) Trace(context.Context, string) (bool, error) { return false, nil }
func (b *blobs) Remove(context.Context, string) error        { return nil }

// all reads every delta, in order.
func (b *blobs) all(t testing.TB) []*Delta {
	t.Helper()
	listed, _ := b.Blobs(t.Context(), "")
	var all []*Delta
	for _, blob := range listed {
		b.mu.Lock()
		raw := b.objects[blob.Key]
		b.mu.Unlock()
		d, err := Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v", blob.Key, err)
		}
		all = append(all, d)
	}
	return all
}

// sample makes a delta of n revisions after base, some of several changes.
func sample(random *rand.Rand, base int64, n int) *Delta {
	d := &Delta{Header: Header{
		Version: FormatVersion, Cluster: "main", UID: "u", Generation: 3, Base: base, Last: base + int64(n),
		Taken: time.Unix(1_700_000_000, 123).UTC(), Settled: true,
	}}
	for rev := base + 1; rev <= d.Last; rev++ {
		for range 1 + random.IntN(3) {
			d.Changes = append(d.Changes, change(random, rev))
		}
	}
	d.Events = len(d.Changes)
	for id := range random.IntN(4) {
		d.Leases = append(d.Leases, Lease{ID: int64(id + 1), TTL: 60, Remaining: random.Int64N(61)})
	}
	return d
}

func change(random *rand.Rand, rev int64) mvccpb.Event {
	key := []byte{'k', byte('a' + random.IntN(26))}
	if random.IntN(4) == 0 {
		return mvccpb.Event{Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: key, ModRevision: rev}}
	}
	return mvccpb.Event{Kv: &mvccpb.KeyValue{
		Key: key, Value: bytes.Repeat([]byte{byte(random.IntN(256))}, random.IntN(100)),
		CreateRevision: 1 + random.Int64N(rev), ModRevision: rev, Version: 1 + random.Int64N(9), Lease: random.Int64N(3),
	}}
}

func random(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 4)) }

func encode(t testing.TB, d *Delta) []byte {
	t.Helper()
	var body bytes.Buffer
	if err := Write(&body, d); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}
