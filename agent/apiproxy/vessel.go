package apiproxy

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	small = 16 << 10 // bytes of a buffer
	large = 1 << 20  // bytes of a pipe, if the kernel grants them: beyond fs.pipe-max-size it takes CAP_SYS_RESOURCE
)

var (
	buffers = sync.Pool{New: func() any { return new(buffer) }}
	pipes   sync.Pool
)

// vesselFor returns what carries so many bytes best. Without descriptors for a pipe that is a buffer.
func vesselFor(bytes int) vessel {
	if bytes > small {
		if p := getPipe(); p != nil {
			return p
		}
	}
	return buffers.Get().(*buffer)
}

// buffer copies.
type buffer struct {
	data       [small]byte
	begin, end int // of what is in it
}

func (b *buffer) fill(fd int) (int, error) {
	n, err := retried(func() (int, error) { return unix.Read(fd, b.data[:]) })
	b.begin, b.end = 0, n
	return n, err
}

func (b *buffer) drain(fd int) (int, error) {
	n, err := retried(func() (int, error) { return unix.Write(fd, b.data[b.begin:b.end]) })
	b.begin += n
	return n, err
}

func (b *buffer) put()  { buffers.Put(b) }
func (b *buffer) drop() { buffers.Put(b) }

// pipe hands the kernel's own pages on. An empty one takes about 10 kB.
type pipe struct {
	ends    ends
	cleanup runtime.Cleanup // when the pool lets go of it
	held    int             // bytes
}

type ends struct{ out, in int } // descriptors

func (e ends) close() {
	_ = unix.Close(e.out) // nothing is lost that anybody waits for
	_ = unix.Close(e.in)
}

// getPipe returns nil if there is none to be had.
func getPipe() *pipe {
	if p, ok := pipes.Get().(*pipe); ok {
		return p
	}
	var both [2]int
	if err := unix.Pipe2(both[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(both[1]), unix.F_SETPIPE_SZ, large) // the default of 64 kB does as well
	p := &pipe{ends: ends{both[0], both[1]}}
	p.cleanup = runtime.AddCleanup(p, ends.close, p.ends)
	return p
}

func (p *pipe) fill(fd int) (int, error) {
	n, err := splice(fd, p.ends.in, large)
	p.held = n
	return n, err
}

func (p *pipe) drain(fd int) (int, error) {
	n, err := splice(p.ends.out, fd, p.held)
	p.held -= n
	return n, err
}

func (p *pipe) put() { pipes.Put(p) }

func (p *pipe) drop() {
	p.cleanup.Stop()
	p.ends.close()
}

func splice(from, to, n int) (int, error) {
	return retried(func() (int, error) {
		moved, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_NONBLOCK)
		return int(moved), err
	})
}
