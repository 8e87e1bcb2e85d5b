package apiproxy

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// stream is one way of a pair. Small amounts are copied, as that costs less than the detour through a pipe; larger ones
// stay in the kernel (splice). While it waits for bytes it holds nothing: a buffer would be 16 kB, and a pipe two
// descriptors and 10 kB, for every idle connection and direction.
type stream struct {
	from, to syscall.RawConn
	by       vessel // between reading and writing
	n, left  int    // bytes that were read, and those of them still to be written
	err      error  // of the last system call
	lost     bool   // it was the reading that broke
}

// vessel carries bytes from a socket to another one.
type vessel interface {
	fill(fd int) (int, error)  // from a socket, as much as there is and fits
	drain(fd int) (int, error) // to a socket, as much as it takes
	put()                      // back, for another stream; it must be empty
	drop()                     // with what is in it
}

func newStream(to, from *net.TCPConn) (*stream, error) {
	source, err := from.SyscallConn()
	if err != nil {
		return nil, err
	}
	target, err := to.SyscallConn()
	return &stream{from: source, to: target}, err
}

// move waits for bytes and forwards them. It returns how many were written, even with an error, and io.EOF when the
// stream ended.
func (s *stream) move() (int, error) {
	if err := errors.Join(s.from.Read(s.read), s.err); err != nil {
		s.lost = true
		return 0, err
	}
	if s.n == 0 {
		return 0, io.EOF
	}
	if err := errors.Join(s.to.Write(s.write), s.err); err != nil {
		s.by.drop()
		return s.n - s.left, err
	}
	s.by.put()
	return s.n, nil
}

// read tells whether the wait is over: there were bytes, the stream ended, or it broke.
func (s *stream) read(fd uintptr) bool {
	waiting, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	if err != nil {
		s.err = err
		return true
	}
	s.by = vesselFor(waiting)
	s.n, s.err = s.by.fill(int(fd))
	if s.n <= 0 {
		s.by.put()
	}
	s.left = s.n
	return !errors.Is(s.err, unix.EAGAIN)
}

// write tells whether all is written, or the stream broke.
func (s *stream) write(fd uintptr) bool {
	for s.left > 0 {
		var n int
		if n, s.err = s.by.drain(int(fd)); s.err != nil {
			return !errors.Is(s.err, unix.EAGAIN)
		}
		s.left -= n
	}
	return true
}

// retried repeats a system call that a signal interrupted.
func retried(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}
