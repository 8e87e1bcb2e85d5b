package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A disk that is too small, or gets full, is named with what it takes; what was there stays as it was.
func TestFullDisk(t *testing.T) {
	blobs, e := fixture(t)
	fail := func(at string) func(*build) {
		return func(b *build) {
			b.step = func(what string) error {
				if what == at {
					return &os.PathError{Op: "write", Path: b.dbFile(), Err: syscall.ENOSPC}
				}
				return nil
			}
		}
	}
	for name, prepare := range map[string]func(*build){
		"too small from the start": func(b *build) { b.free = func(string) (int64, error) { return 20 << 20, nil } },
		"when it is allocated":     fail("allocate db"),
		"in the middle":            fail("write chunk"),
		"at the log":               fail("create log"),
		"at the end":               fail("rewrite db"),
	} {
		t.Run(name, func(t *testing.T) {
			o := order(t, e)
			beside := filepath.Join(filepath.Dir(o.Dir), "aside-1")
			if err := errors.Join(os.Mkdir(beside, 0o700), os.MkdirAll(filepath.Join(o.Part, "member"), 0o700)); err != nil {
				t.Fatal(err)
			}
			b := newBuild(o)
			prepare(b)
			_, err := b.restore(deadline(t), blobs)
			needs := fmt.Sprintf(" needs %d MiB, and free are ", b.needed>>20+1)
			if !errors.Is(err, syscall.ENOSPC) || b.needed < 18<<20 || !strings.Contains(err.Error(), needs) {
				t.Errorf("error %v", err)
			}
			if errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v blames the backup", err)
			}
			nothing(t, o)
			if _, err := os.Stat(beside); err != nil {
				t.Error(err)
			}
		})
	}
}

// A file system that is really full, in the middle: a small one of our own.
func TestReallyFullDisk(t *testing.T) {
	blobs, e := fixture(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=21m"); err != nil {
		t.Skipf("mount: %v: needs root", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	for name, others := range map[string]int{"the log does not fit": 0, "the database does not fit": 15 << 20} {
		t.Run(name, func(t *testing.T) {
			other := filepath.Join(dir, "other")
			if err := os.WriteFile(other, make([]byte, others), 0o600); err != nil {
				t.Fatal(err)
			}
			o := order(t, e)
			o.Dir, o.Part = filepath.Join(dir, "data"), filepath.Join(dir, "data.part")
			b := newBuild(o)
			b.free = func(string) (int64, error) { return 1 << 40, nil } // another takes the space right after we asked
			if _, err := b.restore(deadline(t), blobs); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("error %v", err)
			}
			nothing(t, o)
			if info, err := os.Stat(other); err != nil || info.Size() != int64(others) {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}

// What is there already is never replaced.
func TestRefusesAnExistingDirectory(t *testing.T) {
	blobs, e := fixture(t)
	o := order(t, e)
	if err := os.Mkdir(o.Dir, 0o700); err != nil { // empty, which rename(2) alone would replace
		t.Fatal(err)
	}
	if _, err := Restore(deadline(t), blobs, o); err == nil || !strings.Contains(err.Error(), "set it aside") {
		t.Errorf("error %v", err)
	}
	b := newBuild(o)
	b.step = func(what string) error {
		if what == "remove Part" { // it was not there yet when we looked
			return nil
		}
		if what == "rename Part" {
			return os.Mkdir(o.Dir, 0o700)
		}
		return nil
	}
	if err := os.Remove(o.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := b.restore(deadline(t), blobs); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("error %v; want EEXIST", err)
	}
}

func TestRefusesOrders(t *testing.T) {
	blobs, e := fixture(t)
	for name, spoil := range map[string]func(*Order){
		"no directory": func(o *Order) { o.Dir = "" },
		"one path":     func(o *Order) { o.Part = o.Dir + "/" },
		"no name":      func(o *Order) { o.Name = "" },
		"two names":    func(o *Order) { o.Name = "a=http://x,b" },
		"no URL":       func(o *Order) { o.PeerURL = "" },
		"no token":     func(o *Order) { o.Token = "" },
		"drop all":     func(o *Order) { o.Drop = []string{"/registry/masterleases/", ""} },
		"no version":   func(o *Order) { o.MaxEtcd = "three" },
		"a large bump": func(o *Order) { o.Bump = 1 << 63 },
		"not a URL":    func(o *Order) { o.PeerURL = "127.0.0.1" },
		"nowhere":      func(o *Order) { o.Dir, o.Part = o.Dir+"/a/b", o.Dir+"/a/c" },
	} {
		t.Run(name, func(t *testing.T) {
			o := order(t, e)
			spoil(&o)
			if _, err := Restore(deadline(t), blobs, o); err == nil {
				t.Error("no error")
			} else if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) {
				t.Errorf("error %v blames the backup", err)
			}
		})
	}
}
