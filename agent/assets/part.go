package assets

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"rekindle/agent/status"
)

// part is one object in the making. Its chunks are written by several workers, each its own.
type part struct {
	object Object
	cache  *cache
	file   *os.File // locked while it is open
	claims *os.File // the journal

	claimed []bool       // by the journal that was found: to be hashed before it is believed
	missing atomic.Int64 // chunks not verified yet
	span    *status.Span
	synced  bool // finish brings it to the disk
}

// What openPart may find instead of work to do.
var (
	errBusy = errors.New("being fetched by another")
	errHave = errors.New("in the cache")
)

// openPart begins or resumes an object, or returns errBusy or errHave. The journal is written after the data, but a
// crash of the machine may keep the one and lose the other, so a claim saves the transfer of a chunk, never its
// verification.
func (c *cache) openPart(o Object, synced bool) (_ *part, err error) {
	path := c.file(o) + ".part"
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	p := &part{object: o, cache: c, file: f, synced: synced}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if !tryLock(f, syscall.LOCK_EX) || !sameFile(f, path) { // locked, or complete and renamed since it was opened
		return nil, errBusy
	}
	if c.has(o) { // somebody completed it before we took the lock
		return nil, errors.Join(errHave, os.Remove(path))
	}
	if err := p.adopt(path); err != nil {
		return nil, err
	}
	if err := p.allocate(); err != nil {
		return nil, err
	}
	if p.claims, err = os.OpenFile(path+".chunks", os.O_CREATE|os.O_RDWR, 0o644); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	chunks := p.units()
	if p.claimed == nil {
		p.claimed = make([]bool, chunks)
		journal, err := io.ReadAll(io.LimitReader(p.claims, int64(chunks)))
		if err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		for i, b := range journal {
			p.claimed[i] = b == 1
		}
	}
	p.missing.Store(int64(chunks))
	return p, nil
}

// adopt takes over an object that is in the cache under its final name without a valid stamp: somebody touched it, or
// the cache was copied. Its chunks are claims like any other, so only the bad ones are fetched.
func (p *part) adopt(path string) error {
	if p.object.SHA256 == "" {
		return nil // without digests nothing of it can be believed
	}
	final, err := os.OpenFile(p.cache.file(p.object), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		if !tryLock(final, syscall.LOCK_EX) {
			return errors.Join(errBusy, final.Close())
		}
		err = os.Rename(p.cache.file(p.object), path)
	}
	if errors.Is(err, syscall.ETXTBSY) { // it is being executed; leave that inode alone and fetch anew
		return nil
	}
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	p.file.Close()
	p.file = final
	p.claimed = make([]bool, p.units())
	for i := range p.claimed {
		p.claimed[i] = true
	}
	return nil
}

// allocate reserves the object's blocks, so that a full disk is known before the transfer, not near its end.
func (p *part) allocate() error {
	info, err := p.file.Stat()
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if info.Size() > p.object.Size {
		err = p.file.Truncate(p.object.Size)
	} else if p.object.Size > 0 {
		err = unix.Fallocate(int(p.file.Fd()), 0, 0, p.object.Size)
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = p.file.Truncate(p.object.Size)
		}
	}
	return diskError(p.cache, p.object, err)
}

// units is how many pieces the object is fetched in. Without digests it is one: nothing could vouch for a joint.
func (p *part) units() int {
	if p.object.SHA256 == "" {
		return int(min(1, p.object.Size))
	}
	return len(p.object.Chunks)
}

// spanOf is where piece i begins and how long it is.
func (p *part) spanOf(i int) (offset, length int64) {
	if p.object.SHA256 == "" {
		return 0, p.object.Size
	}
	return chunkSpan(p.object.Size, i)
}

// sound reports whether the claimed chunk i is what it should be on disk.
func (p *part) sound(i int, d digest, h hash.Hash, buf []byte) bool {
	offset, length := chunkSpan(p.object.Size, i)
	h.Reset()
	_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{io.NewSectionReader(p.file, offset, length)}, buf)
	return err == nil && sum(h) == d.of(p.object.Chunks[i])
}

// done counts chunk i as written and verified. If a sync is to follow, the chunk starts its way to the disk now.
func (p *part) done(i int) (complete bool, err error) {
	if _, err := p.claims.WriteAt([]byte{1}, int64(i)); err != nil {
		return false, diskError(p.cache, p.object, err)
	}
	if p.synced {
		offset, length := p.spanOf(i)
		_ = unix.SyncFileRange(int(p.file.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE) // a hint
	}
	return p.missing.Add(-1) == 0, nil
}

// finish moves the complete object to its name and gives the part up.
func (p *part) finish() error {
	defer p.close()
	if p.synced {
		if err := p.file.Sync(); err != nil {
			return diskError(p.cache, p.object, err)
		}
	}
	final := p.cache.file(p.object)
	if err := os.Rename(final+".part", final); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := os.Remove(final + ".part.chunks"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cache: %w", err)
	}
	if p.synced {
		if err := syncDir(filepath.Dir(final)); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
	}
	if err := p.cache.stamped(p.object, p.synced); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// close gives the part up, complete or not; what it has stays for the next one.
func (p *part) close() {
	p.file.Close()
	if p.claims != nil {
		p.claims.Close()
	}
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// diskError adds the remedy when err says that the disk is full.
func diskError(c *cache, o Object, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cache: %w", err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return status.Fail(status.ReasonApplyFailed,
			fmt.Sprintf("the disk of %s is full: it needs %d MiB for this object; enlarge the volume, or free space", c.dir, o.Size>>20+1), err)
	}
	return err
}
