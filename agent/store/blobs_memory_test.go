package store_test

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"rekindle/agent/store"
)

// stamped is size bytes of which each block of 1 MiB is another.
type stamped struct {
	size, at int64
	block    [1 << 20]byte
}

func (s *stamped) Read(p []byte) (int, error) {
	if s.at == s.size {
		return 0, io.EOF
	}
	within := s.at % int64(len(s.block))
	if within == 0 {
		binary.BigEndian.PutUint64(s.block[:], uint64(s.at))
	}
	n := copy(p[:min(int64(len(p)), s.size-s.at)], s.block[within:])
	s.at += int64(n)
	return n, nil
}

// drain is a bucket that keeps checksums only, so that the memory in use is the client's.
type drain struct {
	mu    sync.Mutex
	parts map[int]string
}

func (d *drain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sum := crc32.NewIEEE()
	_, _ = io.Copy(sum, r.Body)
	switch operation(r) {
	case "CreateMultipartUpload":
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
	case "UploadPart":
		number, _ := strconv.Atoi(r.URL.Query().Get("partNumber"))
		d.mu.Lock()
		d.parts[number] = base64.StdEncoding.EncodeToString(sum.Sum(nil))
		d.mu.Unlock()
		w.Header().Set("ETag", `"part"`)
	case "CompleteMultipartUpload":
		_, _ = io.WriteString(w, "<CompleteMultipartUploadResult><ETag>&quot;all&quot;</ETag></CompleteMultipartUploadResult>")
	default: // a HEAD that is refused: what the answer to the write said must do
		w.WriteHeader(http.StatusForbidden)
	}
}

// TestUploadHoldsLittleMemory: 300 MiB go through less than 40 MiB, and arrive as they were.
func TestUploadHoldsLittleMemory(t *testing.T) {
	const size = 300 << 20
	bucket := &drain{parts: map[int]string{}}
	blobs := store.NewS3(client(t, bucket), "bucket", "p")
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	peak, stop := heapPeak()
	blob, err := blobs.Upload(t.Context(), "b", &stamped{size: size})
	stop()
	if err != nil || blob.Size != size || blob.Version != `"all"` {
		t.Fatalf("%+v, %v", blob, err)
	}
	grown := int64(*peak) - int64(before.HeapAlloc)
	t.Logf("the heap grew by %d MiB", grown>>20)
	if grown > 40<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	again := &stamped{size: size}
	for n := 1; n <= len(bucket.parts) || n == 1; n++ {
		sum := crc32.NewIEEE()
		if _, err := io.CopyN(sum, again, 8<<20); err != nil && n < len(bucket.parts) {
			t.Fatal(err)
		}
		if want := base64.StdEncoding.EncodeToString(sum.Sum(nil)); bucket.parts[n] != want {
			t.Errorf("part %d: %s, want %s", n, bucket.parts[n], want)
		}
	}
	if again.at != size {
		t.Errorf("%d bytes arrived", again.at)
	}
}

// heapPeak looks at the heap until stop.
func heapPeak() (peak *uint64, stop func()) {
	peak = new(uint64)
	ended := make(chan struct{})
	var looks sync.WaitGroup
	looks.Go(func() {
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			*peak = max(*peak, now.HeapAlloc)
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	return peak, func() { close(ended); looks.Wait() }
}
