package apiproxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Of bulk data so much is to gather, within so long. Of less than half of it, gathering is not worth the wait.
	gathered   = 1 << 20
	gatherTime = time.Millisecond

	// burst is how many bytes have to come at such a pace before a stream takes them for bulk data. After bulk that was
	// worth it, it is fewer, for senders pause. Where it was not, it is twice as many each time, up to burstMax: a sender
	// that waits for answers would be slowed down.
	burst      = 2 << 20
	burstAgain = 256 << 10
	burstMax   = 64 << 20
	worth      = 8 << 20
)

// stream is one way of a pair. While it waits for bytes it holds neither buffer nor pipe.
//
// What comes is copied at once, except bulk data: of that it lets some gather, as network interfaces do with their
// interrupts, and hands it on within the kernel (splice). Waking up for every piece would cost more than all the copying,
// here and for whoever sends, and splicing small pieces is no cheaper than copying them. `make bench-failover` prints both.
type stream struct {
	source   *net.TCPConn
	from, to syscall.RawConn
	by       vessel // between reading and writing
	n, left  int    // bytes that were read, and those of them still to be written
	err      error  // of the last system call
	lost     bool   // it was the reading that broke

	since     time.Time // when the run began
	run, need int       // bytes that came since; how many it takes for bulk, or took
	bulk      bool      // the socket tells of gathered bytes only
	waited    bool      // for them
	limited   bool      // the wait had a limit, which is to be taken away
}

// vessel carries bytes from a socket to another one.
type vessel interface {
	fill(fd int) (int, error)         // from a socket, as much as there is and fits; 0 without an error is the stream's end
	drain(fd int) (left int, _ error) // to a socket, as much as it takes
	put()                             // back, with whatever is in it
}

func newStream(to, from *net.TCPConn) (*stream, error) {
	source, err := from.SyscallConn()
	if err != nil {
		return nil, err
	}
	target, err := to.SyscallConn()
	return &stream{source: from, from: source, to: target, need: burst}, err
}

// move waits for bytes and forwards them. It returns how many were written, even with an error, and io.EOF when the
// stream ended.
func (s *stream) move() (int, error) {
	if err := s.fetch(); err != nil {
		s.lost = true
		return 0, err
	}
	if s.n == 0 {
		return 0, io.EOF
	}
	err := errors.Join(s.to.Write(s.write), s.err)
	s.by.put()
	s.by = nil
	return s.n - s.left, err
}

// fetch waits for bytes and takes them.
func (s *stream) fetch() error {
	if s.bulk {
		s.waited, s.limited = false, true
		if err := s.source.SetReadDeadline(time.Now().Add(gatherTime)); err != nil {
			return err
		}
		err := s.from.Read(s.gather)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.Join(err, s.err)
		}
	}
	if s.limited {
		s.limited = false
		if err := s.source.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
	return errors.Join(s.from.Read(s.read), s.err)
}

// gather tells whether the wait is over: the socket has what it was told to wait for, or a reason not to.
func (s *stream) gather(fd uintptr) bool {
	waiting, err := waitingNow(int(fd))
	if err == nil && waiting < gathered && !s.waited {
		s.waited = true
		return false
	}
	return s.read(fd)
}

// read tells whether the wait is over: there were bytes, the stream ended, or it broke.
func (s *stream) read(fd uintptr) bool {
	waiting, err := waitingNow(int(fd))
	if err == nil && s.bulk && waiting < gathered/2 {
		err = s.notBulk(fd)
	}
	if err != nil {
		s.err = err
		return true
	}
	s.by = s.vesselFor(waiting)
	if s.n, s.err = s.by.fill(int(fd)); s.n == 0 {
		s.by.put()
		s.by = nil
	}
	s.left = s.n
	if errors.Is(s.err, unix.EAGAIN) {
		if s.bulk {
			s.err = s.notBulk(fd)
			return s.err != nil
		}
		return false
	}
	s.count(fd)
	return true
}

// count begins with bulk when enough came fast enough. The socket then tells of many bytes only; that the stream ends or
// breaks it tells at once (SO_RCVLOWAT, socket(7)).
func (s *stream) count(fd uintptr) {
	now := time.Now()
	if s.run == 0 {
		s.since = now
	}
	if s.run += s.n; s.bulk || s.run < s.need {
		return
	}
	if now.Sub(s.since) <= gatherTime*time.Duration(s.need)/(gathered/2) {
		s.bulk = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, gathered) == nil
	}
	s.run = 0
}

// notBulk has the socket tell of any bytes again, also of those that are there already.
func (s *stream) notBulk(fd uintptr) error {
	if s.run < worth {
		s.need = min(2*s.need, burstMax)
	} else {
		s.need = burstAgain
	}
	s.bulk, s.run = false, 0
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1)
}

func (s *stream) vesselFor(bytes int) vessel {
	if s.bulk {
		if p := newPipe(); p != nil {
			return p
		}
	}
	return bufferFor(bytes)
}

// write tells whether all is written, or the stream broke.
func (s *stream) write(fd uintptr) bool {
	for s.left > 0 {
		if s.left, s.err = s.by.drain(int(fd)); s.err != nil {
			return !errors.Is(s.err, unix.EAGAIN)
		}
	}
	return true
}
