package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/store"
)

// faulty is a store in a directory, some of whose methods a test replaces.
type faulty struct {
	*store.Dir
	upload func(ctx context.Context, key string, r io.Reader) (store.Blob, error)
	open   func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	put    func(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error)
	remove func(ctx context.Context, key string) error
}

func newStore(t testing.TB) *faulty { return &faulty{Dir: store.NewDir(t.TempDir())} }

func (f *faulty) Upload(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
	if f.upload != nil {
		return f.upload(ctx, key, r)
	}
	return f.Dir.Upload(ctx, key, r)
}

func (f *faulty) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if f.open != nil {
		return f.open(ctx, key, offset, length)
	}
	return f.Dir.Open(ctx, key, offset, length)
}

func (f *faulty) Put(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	if f.put != nil {
		return f.put(ctx, key, data, was)
	}
	return f.Dir.Put(ctx, key, data, was)
}

func (f *faulty) Remove(ctx context.Context, key string) error {
	if f.remove != nil {
		return f.remove(ctx, key)
	}
	return f.Dir.Remove(ctx, key)
}

// source is an etcd that sends what it is told to.
type source struct {
	status   clientv3.StatusResponse
	snapshot func(ctx context.Context) (io.ReadCloser, error)
}

func (s *source) Endpoints() []string { return []string{"https://127.0.0.1:2379"} }

func (s *source) Status(context.Context, string) (*clientv3.StatusResponse, error) {
	return &s.status, nil
}

func (s *source) SnapshotWithVersion(ctx context.Context) (*clientv3.SnapshotResponse, error) {
	r, err := s.snapshot(ctx)
	return &clientv3.SnapshotResponse{Snapshot: r}, err
}

func healthy(size int) clientv3.StatusResponse {
	return clientv3.StatusResponse{
		Header: &etcdserverpb.ResponseHeader{ClusterId: 0xc1}, Version: "3.6.16", Leader: 7, DbSize: int64(size),
		RaftIndex: 100, RaftAppliedIndex: 100,
	}
}

// replay is an etcd that sends these bytes.
func replay(raw []byte) *source {
	return &source{status: healthy(len(raw)), snapshot: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}}
}

// sampleOnce is a snapshot that a real etcd sent, of two chunks, with its sum at the end.
var sampleOnce struct {
	sync.Once
	raw []byte
}

func sample(t testing.TB) []byte {
	t.Helper()
	sampleOnce.Do(func() {
		member := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true}).Members[0]
		client := member.Client(t)
		random := rand.NewChaCha8([32]byte{1})
		for i := range 11 {
			value := make([]byte, 1<<20)
			_, _ = random.Read(value[:16<<10]) // the rest compresses: the race detector makes zstd slow
			if _, err := client.Put(t.Context(), fmt.Sprintf("key-%02d", i), string(value)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := client.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if sampleOnce.raw, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		_ = client.Close() // its attempts to connect again are goroutines
		member.Stop()
	})
	if len(sampleOnce.raw) < ChunkSize*5/4 {
		t.Fatalf("the sample has %d bytes", len(sampleOnce.raw))
	}
	return sampleOnce.raw
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func options(t testing.TB, etcd Source, s store.Store) Options {
	return Options{
		Etcd: etcd, Blobs: s, Records: s, Cluster: "main", UID: "0123", Generation: 3, Member: "i-1",
		SpoolDir: filepath.Join(t.TempDir(), "spool"), Reserve: 1 << 20, Workers: 2, Rate: 1 << 40,
		Fence: func(context.Context) error { return nil },
		now:   func() time.Time { return noon },
	}
}

func taker(t testing.TB, o Options) *Taker {
	t.Helper()
	made, err := NewTaker(o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// reassemble reads a backup as nobody in this package does: frame by frame, all of it, with the whole sum at the end.
func reassemble(t testing.TB, blobs store.Blobs, entry Entry) []byte {
	t.Helper()
	manifest, err := ReadManifest(t.Context(), blobs, entry)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := readObject(t.Context(), blobs, entry.SnapshotKey(), 0, 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := Decoder()
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	var raw []byte
	for i, chunk := range manifest.Chunks {
		data, err := decoder.DecodeAll(packed[chunk.Offset:chunk.Offset+chunk.Length], nil)
		if err != nil {
			t.Fatal(err)
		}
		if offset, length := manifest.Span(i); offset != int64(len(raw)) || length != int64(len(data)) {
			t.Fatalf("chunk %d has %d bytes and lies at %d, want %d at %d", i, len(data), len(raw), length, offset)
		}
		if sha256Of(data) != chunk.SHA256 || blake3Of(data) != chunk.BLAKE3 {
			t.Errorf("chunk %d: the manifest's digests are not its own", i)
		}
		raw = append(raw, data...)
	}
	if sum := sha256.Sum256(raw); fmt.Sprintf("%x", sum) != manifest.SHA256 {
		t.Error("the whole has another sum than the manifest says")
	}
	return raw
}

func empty(t testing.TB, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s was left in the spool directory", entry.Name())
	}
}

func keys(t testing.TB, s store.Blobs) (all []string) {
	t.Helper()
	blobs, err := s.Blobs(t.Context(), "etcd/")
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		all = append(all, blob.Key)
	}
	return all
}

// summedFile sends a file and its sum.
func summedFile(file *os.File) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) {
		whole := sha256.New()
		if _, err := io.Copy(whole, io.NewSectionReader(file, 0, 1<<40)); err != nil {
			return nil, err
		}
		return io.NopCloser(io.MultiReader(io.NewSectionReader(file, 0, 1<<40), bytes.NewReader(whole.Sum(nil)))), nil
	}
}

// watchHeap returns a function that says how large the heap was at most since.
func watchHeap(t testing.TB) (peak func() uint64) {
	t.Helper()
	var most uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-stopped
		return most
	}
}
