package apiproxy

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is how much a pipe holds, in bytes, if the kernel grants it (fs.pipe-max-size).
	pipeSize = 1 << 20

	// pipeLimit bounds the pipes in use, and with them what is in them: clients that do not read hold theirs.
	pipeLimit = 32
)

var (
	pipesInUse atomic.Int32
	idlePipes  = make(chan *pipe, 4) // which spares the next stream two descriptors' making
)

// pipe carries bytes from a socket to another one without copying them: the kernel hands its own pages on.
type pipe struct {
	out, in int // descriptors
	held    int // bytes
}

// newPipe returns nil if there is none to be had.
func newPipe() *pipe {
	if pipesInUse.Add(1) > pipeLimit {
		pipesInUse.Add(-1)
		return nil
	}
	select {
	case p := <-idlePipes:
		return p
	default:
	}
	var both [2]int
	if err := unix.Pipe2(both[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		pipesInUse.Add(-1)
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(both[1]), unix.F_SETPIPE_SZ, pipeSize) // the default of 64 kB does as well
	return &pipe{out: both[0], in: both[1]}
}

// put gives it back. With bytes in it, nobody else may have it.
func (p *pipe) put() {
	defer pipesInUse.Add(-1)
	if p.held == 0 {
		select {
		case idlePipes <- p:
			return
		default:
		}
	}
	_ = unix.Close(p.out) // nothing is lost that anybody waits for
	_ = unix.Close(p.in)
}

func (p *pipe) fill(fd int) (int, error) {
	n, err := spliceNow(fd, p.in, pipeSize)
	p.held = n
	return n, err
}

// drain never asks for more than there is: the kernel would hold the last bytes back, and wait for what follows.
func (p *pipe) drain(fd int) (left int, err error) {
	n, err := spliceNow(p.out, fd, p.held)
	p.held -= n
	return p.held, err
}
