package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"rekindle/agent/store"
)

const mib = 1 << 20

// RunBlobs puts blobs through the contract. Each call of open returns an empty store.
func RunBlobs(t *testing.T, open func(t *testing.T) store.Blobs) {
	for name, test := range map[string]func(*testing.T, store.Blobs){
		"content": content, "ranges": ranges, "listing": listing, "removal": removal, "one writer": oneWriter,
		"broken reader": brokenReader, "cancelled": cancelled, "keys": keys,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Noise is size bytes that do not repeat, the same for the same seed.
func Noise(seed, size int64) io.Reader {
	var key [32]byte
	key[0] = byte(seed)
	return io.LimitReader(rand.NewChaCha8(key), size)
}

// Digest reads to the end.
func Digest(t *testing.T, r io.Reader) [32]byte {
	t.Helper()
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		t.Fatal(err)
	}
	return [32]byte(hash.Sum(nil))
}

func upload(t *testing.T, blobs store.Blobs, key string, r io.Reader) store.Blob {
	t.Helper()
	blob, err := blobs.Upload(t.Context(), key, r)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func read(t *testing.T, blobs store.Blobs, key string, offset, length int64) []byte {
	t.Helper()
	body, err := blobs.Open(t.Context(), key, offset, length)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func content(t *testing.T, blobs store.Blobs) {
	for n, size := range []int64{0, 1, 64 << 10, 64<<10 + 1, 8*mib - 1, 8 * mib, 8*mib + 1, 25 * mib} {
		key := fmt.Sprintf("b/%d", size)
		made := upload(t, blobs, key, iotest.HalfReader(Noise(int64(n), size)))
		body, err := blobs.Open(t.Context(), key, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if Digest(t, body) != Digest(t, Noise(int64(n), size)) {
			t.Errorf("%d bytes: read something else than was written", size)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		listed, err := blobs.Blobs(t.Context(), key)
		if err != nil || len(listed) == 0 || listed[0].Key != key || listed[0].Size != size || listed[0].Version != made.Version {
			t.Errorf("%d bytes: listed %+v, error %v; uploaded %+v", size, listed, err, made)
		}
		if made.Key != key || made.Size != size || made.Version == "" || made.Modified.IsZero() || listed[0].Modified.IsZero() {
			t.Errorf("%d bytes: %+v", size, made)
		}
	}
}

func ranges(t *testing.T, blobs store.Blobs) {
	upload(t, blobs, "b", bytes.NewReader([]byte("0123456789")))
	upload(t, blobs, "empty", bytes.NewReader(nil))
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 0, "0123456789"}, {0, 10, "0123456789"}, {3, 4, "3456"}, {9, 1, "9"}, {7, 0, "789"}} {
		if got := read(t, blobs, "b", c.offset, c.length); string(got) != c.want {
			t.Errorf("%d bytes from %d: %q", c.length, c.offset, got)
		}
	}
	if got := read(t, blobs, "empty", 0, 0); len(got) != 0 {
		t.Errorf("%q", got)
	}
	for _, c := range [][2]int64{{0, 11}, {9, 2}, {10, 0}, {10, 1}, {11, 0}, {99, 1}} {
		body, err := blobs.Open(t.Context(), "b", c[0], c[1])
		if err == nil {
			_, err = io.ReadAll(body)
			_ = body.Close()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes from %d of 10: %v", c[1], c[0], err)
		}
	}
	for _, c := range [][2]int64{{-1, 0}, {0, -1}, {1 << 62, 1 << 62}} {
		if _, err := blobs.Open(t.Context(), "b", c[0], c[1]); err == nil || errors.Is(err, store.ErrAbsent) {
			t.Errorf("%d bytes from %d: %v", c[1], c[0], err)
		}
	}
	if _, err := blobs.Open(t.Context(), "none", 0, 0); !errors.Is(err, store.ErrAbsent) {
		t.Errorf("error %v, want ErrAbsent", err)
	}
}

func listing(t *testing.T, blobs store.Blobs) {
	expect := func(prefix string, want ...string) {
		t.Helper()
		found, err := blobs.Blobs(t.Context(), prefix)
		var got []string
		for _, blob := range found {
			got = append(got, blob.Key)
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("under %q: %v, error %v; want %v", prefix, got, err, want)
		}
		if trace, err := blobs.Trace(t.Context(), prefix); err != nil || trace != (len(want) > 0) {
			t.Errorf("under %q: trace %t, error %v", prefix, trace, err)
		}
	}
	expect("")
	expect("etcd/main/")
	for _, key := range []string{"etcd/main/b/x", "etcd/main/a", "etcd/main/b-x", "etcd/mainly", "other"} {
		upload(t, blobs, key, bytes.NewReader([]byte(key)))
	}
	expect("etcd/main/", "etcd/main/a", "etcd/main/b-x", "etcd/main/b/x")
	expect("etcd/main", "etcd/main/a", "etcd/main/b-x", "etcd/main/b/x", "etcd/mainly")
	expect("etcd/events/")
	expect("", "etcd/main/a", "etcd/main/b-x", "etcd/main/b/x", "etcd/mainly", "other")
}

func removal(t *testing.T, blobs store.Blobs) {
	for _, key := range []string{"b/snapshot", "b/snapshot.sum"} {
		upload(t, blobs, key, bytes.NewReader([]byte(key)))
	}
	for range 2 { // the second time it is not there
		if err := blobs.Remove(t.Context(), "b/snapshot"); err != nil {
			t.Fatal(err)
		}
		if _, err := blobs.Open(t.Context(), "b/snapshot", 0, 0); !errors.Is(err, store.ErrAbsent) {
			t.Errorf("removed: %v", err)
		}
	}
	if got := read(t, blobs, "b/snapshot.sum", 0, 0); string(got) != "b/snapshot.sum" {
		t.Errorf("what stood beside it holds %q", got)
	}
	if err := blobs.Remove(t.Context(), "b/snapshot.sum"); err != nil {
		t.Fatal(err)
	}
	if trace, err := blobs.Trace(t.Context(), "b/"); err != nil || trace {
		t.Errorf("all is removed: trace %t, error %v", trace, err)
	}
	upload(t, blobs, "b/snapshot", bytes.NewReader([]byte("again")))
}

// oneWriter lets several write the same object: one succeeds, and it is his.
func oneWriter(t *testing.T, blobs store.Blobs) {
	for _, size := range []int64{1000, 9 * mib} {
		key := fmt.Sprintf("race/%d", size)
		var mu sync.Mutex
		var winners []int64
		var writers sync.WaitGroup
		for n := range int64(4) {
			writers.Go(func() {
				_, err := blobs.Upload(t.Context(), key, Noise(n, size))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winners = append(winners, n)
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
				}
			})
		}
		writers.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d bytes: %d winners", size, len(winners))
		}
		if got := read(t, blobs, key, 0, 0); Digest(t, bytes.NewReader(got)) != Digest(t, Noise(winners[0], size)) {
			t.Errorf("%d bytes: the object is not the winner's", size)
		}
	}
}

func nothing(t *testing.T, blobs store.Blobs) {
	t.Helper()
	if found, err := blobs.Blobs(t.Context(), ""); err != nil || len(found) > 0 {
		t.Errorf("listed %v, error %v", found, err)
	}
}

func brokenReader(t *testing.T, blobs store.Blobs) {
	broken := errors.New("the disk is broken")
	for _, size := range []int64{0, 1000, 8 * mib, 20 * mib} {
		_, err := blobs.Upload(t.Context(), "b", io.MultiReader(Noise(1, size), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", size, err)
		}
		nothing(t, blobs)
	}
	if _, err := blobs.Upload(t.Context(), "b", iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut input: %v", err)
	}
	nothing(t, blobs)
}

// cancelled ends the context while the reader has more to give, and never ends.
func cancelled(t *testing.T, blobs store.Blobs) {
	for _, size := range []int64{0, 1000, 20 * mib} {
		ctx, cancel := context.WithCancel(t.Context())
		hanging, end := io.Pipe()
		late := io.MultiReader(Noise(1, size), readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF }), hanging)
		if _, err := blobs.Upload(ctx, "b", late); !errors.Is(err, context.Canceled) {
			t.Errorf("after %d bytes: %v", size, err)
		}
		_ = end.Close()
		nothing(t, blobs)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func keys(t *testing.T, blobs store.Blobs) {
	for _, key := range []string{"", ".", "../x", "a/../../x", "/etc/passwd", "a//b", "a/"} {
		_, uploading := blobs.Upload(t.Context(), key, bytes.NewReader([]byte("x")))
		_, opening := blobs.Open(t.Context(), key, 0, 0)
		if uploading == nil || opening == nil || errors.Is(opening, store.ErrAbsent) || blobs.Remove(t.Context(), key) == nil {
			t.Errorf("%q was taken for a key", key)
		}
	}
}
