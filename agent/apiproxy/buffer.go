package apiproxy

import (
	"sync"
	"sync/atomic"
)

const (
	small = 16 << 10
	large = 256 << 10

	// largeLimit bounds the large buffers in use, to 8 MB: clients that do not read hold theirs.
	largeLimit = 32
)

var (
	smallBuffers, largeBuffers sync.Pool
	largeInUse                 atomic.Int32
)

// buffer carries bytes from a socket to another one.
type buffer struct {
	data       []byte
	begin, end int // of what is in it
}

// bufferFor returns one of a size that suits so many bytes.
func bufferFor(bytes int) *buffer {
	pool, size := &smallBuffers, small
	if bytes > small {
		if largeInUse.Add(1) <= largeLimit {
			pool, size = &largeBuffers, large
		} else {
			largeInUse.Add(-1)
		}
	}
	if b, ok := pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{data: make([]byte, size)}
}

// put gives it back, with whatever is in it.
func (b *buffer) put() {
	if len(b.data) == small {
		smallBuffers.Put(b)
	} else {
		largeInUse.Add(-1)
		largeBuffers.Put(b)
	}
}

// fill reads what there is and fits. 0 without an error is the end of the stream.
func (b *buffer) fill(fd int) (int, error) {
	n, err := readNow(fd, b.data)
	b.begin, b.end = 0, n
	return n, err
}

// drain writes as much as the socket takes, and tells how much is left.
func (b *buffer) drain(fd int) (left int, err error) {
	n, err := writeNow(fd, b.data[b.begin:b.end])
	b.begin += n
	return b.end - b.begin, err
}
