package host

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"rekindle/agent/status"
)

// explain names the machine's path instead of the real one, and the remedy where there is one.
func explain(p string, err error) error {
	if err == nil {
		return nil
	}
	op := ""
	var number syscall.Errno
	if errors.As(err, &number) {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			op = e.Op + ": "
		}
		err = fmt.Errorf("%s: %s%w", p, op, number)
	} else if !strings.HasPrefix(err.Error(), p) {
		err = fmt.Errorf("%s: %w", p, err)
	}
	reason, hint := status.ReasonApplyFailed, ""
	switch number {
	case syscall.ENOSPC, syscall.EDQUOT:
		reason = status.ReasonDiskFull
	case syscall.EROFS:
		hint = "the file system is mounted read-only: mount it with rw, or have the role write below a path that is writable"
	case syscall.EPERM:
		hint = "if the agent runs as root, the file is immutable or a security module denies it: see lsattr " + p + "; chattr -i " + p + " removes the flag"
	case syscall.EACCES:
		hint = "run the agent as root, and look for denials of the security module in the journal (ausearch -m avc)"
	case syscall.EBUSY:
		hint = "something is mounted on it: see findmnt " + p
	case syscall.EIO:
		hint = "the disk failed: see dmesg, and replace the instance or the volume"
	default:
		return err
	}
	return status.Fail(reason, hint, err)
}
