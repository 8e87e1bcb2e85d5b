//go:build image

package main

import (
	"syscall"
	"testing"
)

// stamp is what the agent's record says of a file: apply.Stamp.
type stamp struct {
	Size, MTime, CTime int64
	Inode              uint64
}

func (s stamp) compare(t *testing.T, path string) {
	t.Helper()
	var is syscall.Stat_t
	if err := syscall.Lstat(path, &is); err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if now := (stamp{is.Size, is.Mtim.Nano(), is.Ctim.Nano(), is.Ino}); now != s {
		t.Errorf("%s: the record has %+v, the disk %+v: a boot would read or unpack it again", path, s, now)
	}
}
