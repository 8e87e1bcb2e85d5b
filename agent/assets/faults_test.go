package assets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/status"
)

// faulty is a source in front of another one. It records what it was asked for objects, and answers what get answers;
// (nil, nil) lets the request through.
type faulty struct {
	Source
	name string
	get  func(ctx context.Context, r Range) (io.ReadCloser, error)

	mu    sync.Mutex
	asked []Range
}

func (f *faulty) String() string { return f.name }

func (f *faulty) Get(ctx context.Context, key string, r Range) (io.ReadCloser, error) {
	if strings.HasPrefix(key, objectPrefix) {
		f.mu.Lock()
		f.asked = append(f.asked, r)
		f.mu.Unlock()
		if f.get != nil {
			if body, err := f.get(ctx, r); body != nil || err != nil {
				return body, err
			}
		}
	}
	return f.Source.Get(ctx, key, r)
}

// bytesAsked is how many bytes of objects were asked for.
func (f *faulty) bytesAsked() (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.asked {
		n += r.Length
	}
	return n
}

func fails(err error) func(context.Context, Range) (io.ReadCloser, error) {
	return func(context.Context, Range) (io.ReadCloser, error) { return nil, err }
}

// cutAfter lets so many bytes of every body through and breaks the connection then.
func cutAfter(src Source, key string, n int64) func(context.Context, Range) (io.ReadCloser, error) {
	return func(ctx context.Context, r Range) (io.ReadCloser, error) {
		body, err := src.Get(ctx, key, r)
		if err != nil {
			return nil, err
		}
		broken := io.MultiReader(io.LimitReader(body, n), brokenReader{})
		return struct {
			io.Reader
			io.Closer
		}{broken, body}, nil
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

// flip damages one byte of a file, keeping nothing else.
func flip(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[0] ^ 1}, offset); err != nil {
		t.Fatal(err)
	}
}

// big is an object of six chunks, the last one short.
const bigSize = 5*ChunkSize + 99

func bigStore(t *testing.T) (store *Dir, data []byte, object Object) {
	t.Helper()
	data = noise(7, bigSize)
	store = published(t, map[string][]byte{"big": data})
	s := opened(t, Options{Sources: []Source{store}})
	object, _ = s.Manifest().Lookup("big")
	return store, data, object
}

func wantReason(t *testing.T, err error, want status.Reason, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", want)
	}
	if reason, _ := status.ReasonOf(err); reason != want {
		t.Errorf("reason %s of %q, want %s", reason, err, want)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

func TestCorruptChunkComesFromAnotherSource(t *testing.T) {
	store, data, o := bigStore(t)
	bad := NewDir(filepath.Join(t.TempDir(), "bad"))
	if err := os.CopyFS(bad.path, os.DirFS(store.path)); err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(bad.path, objectKey(o.SHA256)), 2*ChunkSize+5)
	first, second := &faulty{Source: bad, name: "first"}, &faulty{Source: store, name: "second"}

	s := opened(t, Options{Sources: []Source{first, second}})
	if got := fetched(t, s, "big"); !bytes.Equal(got, data) {
		t.Error("not what was published")
	}
	if len(second.asked) != 1 || second.asked[0] != (Range{Offset: 2 * ChunkSize, Length: ChunkSize}) {
		t.Errorf("the second source was asked for %+v, want only the bad chunk", second.asked)
	}
}

func TestCorruptEverywhere(t *testing.T) {
	store, _, o := bigStore(t)
	flip(t, filepath.Join(store.path, objectKey(o.SHA256)), ChunkSize)
	first, second := &faulty{Source: store, name: "first"}, &faulty{Source: store, name: "second"}
	s := opened(t, Options{Sources: []Source{first, second}})
	err := s.Fetch(t.Context(), o)
	want := o.Chunks[1].SHA256
	if fastest().name == byBLAKE3.name {
		want = o.Chunks[1].BLAKE3
	}
	wantReason(t, err, status.ReasonAssetCorrupt, "asset big", "chunk 1", o.SHA256, want, "first: ", "second: ", "publish")
	if s.cache.has(o) {
		t.Error("the corrupt object is in the cache")
	}
}

func TestResumeAfterCut(t *testing.T) {
	store, data, o := bigStore(t)
	cache := t.TempDir()
	cut := &faulty{Source: store, name: store.String(), get: cutAfter(store, objectKey(o.SHA256), 2*ChunkSize+1000)}
	s := opened(t, Options{Sources: []Source{cut}, CacheDir: cache, Parallel: 1})
	calls := 0
	through := cut.get
	cut.get = func(ctx context.Context, r Range) (io.ReadCloser, error) {
		if calls++; calls > 1 {
			return nil, errors.New("network is unreachable")
		}
		return through(ctx, r)
	}
	err := s.Fetch(within(t, 300*time.Millisecond), o)
	wantReason(t, err, status.ReasonStoreUnreached, "asset big", "chunk 2", "network is unreachable", "route")

	// The agent starts again. One of the two chunks that had arrived did not survive on disk.
	flip(t, s.File(o)+".part", 10)
	whole := &faulty{Source: store, name: store.String()}
	s = opened(t, Options{Sources: []Source{whole}, CacheDir: cache})
	if got := fetched(t, s, "big"); !bytes.Equal(got, data) {
		t.Error("not what was published")
	}
	if got, want := whole.bytesAsked(), int64(bigSize-ChunkSize); got != want {
		t.Errorf("%d bytes were transferred again, want %d: all but the one sound chunk", got, want)
	}
	if left, _ := filepath.Glob(cache + "/objects/*.part*"); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestCutIsResumedInPlace(t *testing.T) {
	store, data, o := bigStore(t)
	cut := &faulty{Source: store, name: "cut", get: cutAfter(store, objectKey(o.SHA256), ChunkSize+1000)}
	s := opened(t, Options{Sources: []Source{cut}, Parallel: 1})
	if got := fetched(t, s, "big"); !bytes.Equal(got, data) {
		t.Error("not what was published")
	}
	for i, r := range cut.asked {
		if i > 0 && r.Offset <= cut.asked[i-1].Offset {
			t.Errorf("request %d begins at %d, not after the %d before", i, r.Offset, cut.asked[i-1].Offset)
		}
	}
}

func TestStalledConnectionIsAbandoned(t *testing.T) {
	store, data, o := bigStore(t)
	synctest.Test(t, func(t *testing.T) {
		silent := &faulty{Source: store, name: "silent"}
		silent.get = func(ctx context.Context, _ Range) (io.ReadCloser, error) {
			<-ctx.Done() // neither headers nor bytes
			return nil, ctx.Err()
		}
		second := &faulty{Source: store, name: "second"}
		s := opened(t, Options{Sources: []Source{silent, second}, ReadTimeout: 10 * time.Second})
		start := time.Now()
		if got := fetched(t, s, "big"); !bytes.Equal(got, data) {
			t.Error("not what was published")
		}
		// Both jobs run into the silent source at once; after that it is known to be down.
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("took %s, want one read time-out", took)
		}
		if got := second.bytesAsked(); got != o.Size {
			t.Errorf("the second source delivered %d bytes, want %d", got, o.Size)
		}
	})
}

func TestStallInsideABody(t *testing.T) {
	store, data, _ := bigStore(t)
	synctest.Test(t, func(t *testing.T) {
		hang := &faulty{Source: store, name: "hang"}
		first := true
		hang.get = func(ctx context.Context, r Range) (io.ReadCloser, error) {
			if !first {
				return nil, nil
			}
			first = false
			reader, writer := io.Pipe()
			context.AfterFunc(ctx, func() { writer.CloseWithError(ctx.Err()) })
			go func() { _, _ = writer.Write(data[r.Offset : r.Offset+ChunkSize+77]) }()
			return reader, nil
		}
		s := opened(t, Options{Sources: []Source{hang}, Parallel: 1})
		start := time.Now()
		if got := fetched(t, s, "big"); !bytes.Equal(got, data) {
			t.Error("not what was published")
		}
		if took := time.Since(start); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("took %s, want the read time-out and one short pause", took)
		}
		if again := hang.asked[1]; again.Offset != ChunkSize {
			t.Errorf("resumed at %d, want at the chunk that was cut", again.Offset)
		}
	})
}

func TestMissingAtOneSource(t *testing.T) {
	store, data, _ := bigStore(t)
	for _, answer := range []error{ErrNotFound, ErrDenied} {
		synctest.Test(t, func(t *testing.T) {
			first := &faulty{Source: store, name: "first", get: fails(answer)}
			s := opened(t, Options{Sources: []Source{first, store}})
			start := time.Now()
			if got := fetched(t, s, "big"); !bytes.Equal(got, data) {
				t.Error("not what was published")
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("%v: took %s, want the next source at once", answer, took)
			}
		})
	}
}

func TestMissingEverywhere(t *testing.T) {
	store, _, o := bigStore(t)
	for answer, want := range map[error]status.Reason{ErrNotFound: status.ReasonAssetMissing, ErrDenied: status.ReasonStoreDenied} {
		first, second := &faulty{Source: store, name: "first", get: fails(ErrNotFound)}, &faulty{Source: store, name: "second", get: fails(answer)}
		s := opened(t, Options{Sources: []Source{first, second}})
		err := s.Fetch(t.Context(), o)
		wantReason(t, err, want, "asset big", "first: not found", "second: ", objectKey(o.SHA256))
		if want == status.ReasonStoreDenied {
			wantReason(t, err, want, "s3:GetObject")
		}
		if !errors.Is(err, answer) {
			t.Errorf("%v does not wrap %v", err, answer)
		}
	}
}

func TestRetriesBackOff(t *testing.T) {
	store, _, o := bigStore(t)
	synctest.Test(t, func(t *testing.T) {
		dead := &faulty{Source: store, name: "dead", get: fails(errors.New("503 Slow Down"))}
		s := opened(t, Options{Sources: []Source{dead}, Parallel: 1})
		start := time.Now()
		err := s.Fetch(within(t, time.Minute), o)
		wantReason(t, err, status.ReasonStoreUnreached, "503 Slow Down", "deadline")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("gave up after %s, want at the deadline", took)
		}
		// 0.2 s doubling to 10 s, each halved at most: between 11 and 19 tries in a minute.
		if n := len(dead.asked); n < 10 || n > 19 {
			t.Errorf("%d tries in a minute", n)
		}
	})
}

func TestTwoAgentsShareACache(t *testing.T) {
	files := map[string][]byte{}
	for i := range 12 {
		files[fmt.Sprintf("o%d", i)] = noise(byte(i), ChunkSize/4*(i%5+1))
	}
	src := &faulty{Source: published(t, files), name: "store"}
	cache := t.TempDir()
	var group errgroup.Group
	for i := range 3 {
		s := opened(t, Options{Sources: []Source{src}, CacheDir: cache})
		group.Go(func() error {
			all := s.Manifest().Objects
			return s.Fetch(t.Context(), append(all[i:len(all):len(all)], all[:i]...)...)
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	s := opened(t, Options{Sources: []Source{src}, CacheDir: cache})
	if got, want := src.bytesAsked(), s.Manifest().Total(); got != want {
		t.Errorf("three agents transferred %d bytes, want %d: each object once", got, want)
	}
	for path, want := range files {
		if !bytes.Equal(fetched(t, s, path), want) {
			t.Errorf("%s is not what was published", path)
		}
	}
}

func TestDiskFull(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "rekindle-test-")
	if err != nil {
		t.Skip("no /dev/shm here, so no small file system")
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := Object{Path: "images/huge.tar", Size: maxChunks * ChunkSize, SHA256: ones, Chunks: make([]Chunk, maxChunks)}
	if size := sizeOfFS(t, dir); size >= uint64(o.Size) {
		t.Skipf("/dev/shm is %d bytes, larger than any object", size)
	}
	s := opened(t, Options{Sources: []Source{published(t, nil)}, CacheDir: dir})
	err = s.Fetch(t.Context(), o)
	wantReason(t, err, status.ReasonApplyFailed, "images/huge.tar", "no space left", dir, "MiB")
}
