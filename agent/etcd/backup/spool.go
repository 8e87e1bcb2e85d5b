package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// A slow store must not hold up etcd, which keeps every page that a snapshot may still need (etcd#18509): the snapshot goes
// to the node's disk first.

const (
	spoolPattern = "etcd-snapshot-*.spool"
	spoolCheck   = 8 << 20 // bytes between two looks at the free space
	spoolBuffer  = 256 << 10
)

// spool is a file without a name: whatever becomes of this process, the disk has its space back.
type spool struct {
	*os.File
	size   int64    // of the database
	sha256 string   // of the database, as etcd and we have it
	blake3 []string // of each chunk as it came from etcd
}

// sweep removes what was left by a process that ended between making its file and taking the name away.
func sweep(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, spoolPattern))
	for _, path := range paths {
		if gone := os.Remove(path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

func newSpool(dir string) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := sweep(dir); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(dir, spoolPattern)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, file.Close())
	}
	return &spool{File: file}, nil
}

// room says that the disk has space for need more bytes.
func room(dir string, free func(dir string) (int64, error), need int64) error {
	have, err := free(dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if have < need {
		return fmt.Errorf("%s: %d MiB are free, but %d MiB are needed to keep the snapshot and the node's reserve: make room, or give the agent another directory for it",
			dir, have>>20, (need+1<<20-1)>>20)
	}
	return nil
}

func freeSpace(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

// fill copies etcd's stream into the spool, at most rate bytes a second, compares its trailing sum, and cuts that off. Room is
// asked now and then.
func (s *spool) fill(ctx context.Context, stream io.Reader, rate int64, stall *watchdog, room func() error) error {
	begun := time.Now()
	digests := &digests{whole: sha256.New(), chunk: blake3.New()}
	buffer := make([]byte, spoolBuffer)
	var size, checked int64
	for {
		stall.arm()
		n, err := readSome(stream, buffer)
		stall.disarm()
		digests.add(buffer[:n])
		if _, err := s.Write(buffer[:n]); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("snapshot: after %d bytes: %w", size, err)
		}
		pace(ctx, begun, size, rate)
		if size-checked >= spoolCheck {
			checked = size
			if err := room(); err != nil {
				return fmt.Errorf("spool: %w", err)
			}
		}
	}
	return s.seal(size, digests)
}

// pace waits until size bytes may have come. A context that ends shows in the next read.
func pace(ctx context.Context, begun time.Time, size, rate int64) {
	wait := time.Duration(float64(size)/float64(rate)*float64(time.Second)) - time.Since(begun)
	if wait < time.Millisecond {
		return
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

// readSome passes over empty reads: etcd sends nothing, for ever, after an error of its own.
func readSome(stream io.Reader, buffer []byte) (int, error) {
	for {
		if n, err := stream.Read(buffer); n > 0 || err != nil {
			return n, err
		}
	}
}

// seal compares what came with the sum that etcd appends: whoever saves a snapshot is expected to.
func (s *spool) seal(size int64, digests *digests) error {
	if size <= sha256.Size || size%512 != sha256.Size {
		return fmt.Errorf("snapshot: %d bytes: it was cut, or etcd's sum is missing at its end", size)
	}
	got, want := digests.finish()
	if !bytes.Equal(got, want) {
		return fmt.Errorf("snapshot: its sha256 is %x, but etcd says %x", got, want)
	}
	s.size, s.sha256, s.blake3 = size-sha256.Size, fmt.Sprintf("%x", got), digests.chunks
	if err := s.Truncate(s.size); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// digests are those of a stream, but for its last 32 bytes, which are one themselves.
type digests struct {
	whole  hash.Hash
	chunk  *blake3.Hasher
	chunks []string
	filled int    // bytes of the present chunk
	tail   []byte // the last bytes so far, up to 32
}

func (d *digests) add(data []byte) {
	keep := min(sha256.Size, len(data))
	body, end := data[:len(data)-keep], data[len(data)-keep:]
	if over := len(d.tail) + keep - sha256.Size; over > 0 {
		d.hash(d.tail[:over])
		d.tail = append(d.tail[:0], d.tail[over:]...)
	}
	d.hash(body)
	d.tail = append(d.tail, end...)
}

func (d *digests) hash(data []byte) {
	d.whole.Write(data)
	for len(data) > 0 {
		n := min(len(data), ChunkSize-d.filled)
		_, _ = d.chunk.Write(data[:n]) // never an error
		if d.filled += n; d.filled == ChunkSize {
			d.cut()
		}
		data = data[n:]
	}
}

func (d *digests) cut() {
	d.chunks = append(d.chunks, fmt.Sprintf("%x", d.chunk.Sum(nil)))
	d.chunk.Reset()
	d.filled = 0
}

func (d *digests) finish() (got, want []byte) {
	if d.filled > 0 {
		d.cut()
	}
	return d.whole.Sum(nil), d.tail
}

// watchdog ends a context when nothing was heard for a while.
type watchdog struct {
	timer *time.Timer
	after time.Duration
}

func newWatchdog(after time.Duration, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{after: after}
	w.timer = time.AfterFunc(after, func() {
		cancel(fmt.Errorf("no byte from etcd for %s: its disk may be failing", after))
	})
	w.timer.Stop()
	return w
}

func (w *watchdog) arm()    { w.timer.Reset(w.after) }
func (w *watchdog) disarm() { w.timer.Stop() }
