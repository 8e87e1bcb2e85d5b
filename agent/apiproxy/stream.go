package apiproxy

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// stream is one way of a pair. While it waits for bytes it holds no buffer.
//
// It copies. Splice(2) took less of the proxy's own time, but more of all three processes together: the pages that it
// hands on are cold and in small pieces when the receiver copies them. `make bench-failover` prints both.
type stream struct {
	from, to syscall.RawConn
	buffer   *buffer // between reading and writing
	n, left  int     // bytes that were read, and those of them still to be written
	err      error   // of the last system call
	lost     bool    // it was the reading that broke
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
	err := errors.Join(s.to.Write(s.write), s.err)
	s.release()
	return s.n - s.left, err
}

// read tells whether the wait is over: there were bytes, the stream ended, or it broke.
func (s *stream) read(fd uintptr) bool {
	waiting, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	if err != nil {
		s.err = err
		return true
	}
	s.buffer = bufferFor(waiting)
	if s.n, s.err = s.buffer.fill(int(fd)); s.n == 0 {
		s.release()
	}
	s.left = s.n
	return !errors.Is(s.err, unix.EAGAIN)
}

// write tells whether all is written, or the stream broke.
func (s *stream) write(fd uintptr) bool {
	for s.left > 0 {
		if s.left, s.err = s.buffer.drain(int(fd)); s.err != nil {
			return !errors.Is(s.err, unix.EAGAIN)
		}
	}
	return true
}

func (s *stream) release() {
	s.buffer.put()
	s.buffer = nil
}
