package apiproxy

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls here are on sockets and pipes that do not block, so Go's scheduler is not told of them (RawSyscall).
// Where the process was idle, telling would first wake up the thread that watches over calls that block
// (runtime.entersyscall, sysmon): a third of the proxy's processor time in bulk, and a quarter of what a small question
// takes longer.

// readNow reads what is there and fits. 0 without an error is the end of the stream.
func readNow(fd int, into []byte) (int, error) {
	return now(unix.SYS_READ, fd, into)
}

func writeNow(fd int, from []byte) (int, error) {
	return now(unix.SYS_WRITE, fd, from)
}

// now does not take empty buffers.
func now(trap uintptr, fd int, data []byte) (int, error) {
	return retried(func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	})
}

// spliceNow moves up to n bytes from a socket to a pipe, or back.
func spliceNow(from, to, n int) (int, error) {
	return retried(func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK)
	})
}

// waitingNow is how many bytes a socket has to read.
func waitingNow(fd int) (int, error) {
	var n int32
	_, err := retried(func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCINQ, uintptr(unsafe.Pointer(&n)))
	})
	return int(n), err
}

// retried repeats a system call that a signal interrupted.
func retried(call func() (uintptr, uintptr, unix.Errno)) (int, error) {
	for {
		n, _, errno := call()
		switch {
		case errno == 0:
			return int(n), nil
		case !errors.Is(errno, unix.EINTR):
			return 0, errno
		}
	}
}
