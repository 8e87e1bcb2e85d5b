package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/store"
)

const (
	rangeLow  = 8 << 20  // bytes: a request covers as many frames as it takes to be so long,
	rangeHigh = 16 << 20 // unless it would be longer than this
	// writeStep is how much is written at once. Larger writes to the page cache took several times as long on ext4 and
	// Linux 6.18: docs/decisions/009-restore.md.
	writeStep = 64 << 10
)

// span is the chunks [from, to), which one request reads.
type span struct{ from, to int }

// spans cuts snapshot.zst into requests.
func spans(chunks []backup.Chunk) (all []span) {
	for from := 0; from < len(chunks); {
		to, length := from+1, chunks[from].Length
		for to < len(chunks) && length < rangeLow && length+chunks[to].Length <= rangeHigh {
			length += chunks[to].Length
			to++
		}
		all = append(all, span{from, to})
		from = to
	}
	return all
}

// fetcher brings the chunks of snapshot.zst to their places in the database. Every worker holds one frame; the slots bound
// how many chunks are decoded at once, and with them memory.
type fetcher struct {
	*build
	blobs store.Blobs
	key   string
	file  *os.File
	slots chan *slot
	done  atomic.Int64 // bytes of the database
}

// slot is what it takes to decode one chunk.
type slot struct {
	decoder *zstd.Decoder
	chunk   []byte
}

func newSlot() (*slot, error) {
	decoder, err := backup.Decoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &slot{decoder, make([]byte, 0, backup.ChunkSize)}, nil
}

// fetch brings the whole snapshot.
func (b *build) fetch(ctx context.Context, blobs store.Blobs) (err error) {
	m := b.result.Manifest
	file, err := b.create(m.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk(file.Close())) }()
	all := spans(m.Chunks)
	workers := min(b.Parallel, len(all))
	f := &fetcher{build: b, blobs: blobs, key: b.Backup.SnapshotKey(), file: file,
		slots: make(chan *slot, min(workers, runtime.GOMAXPROCS(0)))}
	for range cap(f.slots) {
		s, err := newSlot()
		if err != nil {
			return err
		}
		defer s.decoder.Close()
		f.slots <- s
	}
	g, ctx := errgroup.WithContext(ctx)
	jobs := make(chan span)
	g.Go(func() error {
		defer close(jobs)
		for _, s := range all {
			select {
			case jobs <- s:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			var frame []byte
			for s := range jobs {
				if err := f.read(ctx, s, &frame); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("%s: %w", f.key, err)
	}
	return nil
}

// read brings the chunks of s, with as many requests as it takes.
func (f *fetcher) read(ctx context.Context, s span, frame *[]byte) error {
	failed, mismatched := 0, 0 // in a row, and of the chunk s.from
	for {
		arrived := 0
		err := f.attempt(ctx, func(ctx context.Context, w *watch) (err error) {
			arrived, err = f.stream(ctx, w, s, frame)
			return err
		})
		if s.from += arrived; arrived > 0 {
			failed, mismatched = 0, 0
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("chunk %d: %w", s.from, err)
		if errors.Is(err, backup.ErrDamaged) {
			if mismatched++; mismatched == 2 {
				return corrupt("%w, twice", err)
			}
		} else if whole := f.whole(ctx); whole != nil {
			return errors.Join(whole, err)
		}
		if definite(err) {
			return err
		}
		if err := f.again(ctx, failed, err); err != nil {
			return err
		}
		failed++
	}
}

// stream reads the chunks of s in one request, and returns how many arrived before err.
func (f *fetcher) stream(ctx context.Context, w *watch, s span, frame *[]byte) (arrived int, err error) {
	chunks := f.result.Manifest.Chunks
	first, last := chunks[s.from], chunks[s.to-1]
	body, err := f.blobs.Open(ctx, f.key, first.Offset, last.Offset+last.Length-first.Offset)
	if errors.Is(err, store.ErrAbsent) {
		return 0, corrupt("it has a manifest, but no snapshot: %w", err)
	}
	if err != nil {
		return 0, err
	}
	defer body.Close()
	from := f.counted(body, w)
	for i := s.from; i < s.to; i++ {
		if int64(cap(*frame)) < chunks[i].Length {
			*frame = make([]byte, chunks[i].Length)
		}
		data := (*frame)[:chunks[i].Length]
		if _, err := io.ReadFull(from, data); err != nil {
			return arrived, err
		}
		w.rest()
		if err := f.place(ctx, i, data); err != nil {
			return arrived, err
		}
		w.alive()
		arrived++
	}
	return arrived, nil
}

// place decodes a frame, compares it with the manifest, and writes it where it belongs.
func (f *fetcher) place(ctx context.Context, i int, frame []byte) error {
	var s *slot
	select {
	case s = <-f.slots:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	offset, size := f.result.Manifest.Span(i)
	err := f.write(s, i, offset, size, frame)
	f.slots <- s
	if err != nil {
		return err
	}
	// Only a hint: the disk is to be busy from now on, and not only at the end.
	_ = unix.SyncFileRange(int(f.file.Fd()), offset, size, unix.SYNC_FILE_RANGE_WRITE)
	f.Progress(f.done.Add(size), f.result.Manifest.Size)
	return nil
}

func (f *fetcher) write(s *slot, i int, offset, size int64, frame []byte) error {
	chunk, err := f.result.Manifest.Chunks[i].Decode(s.decoder, frame, s.chunk, size)
	if err != nil {
		return err
	}
	if err := f.step("write chunk"); err != nil {
		return disk(err)
	}
	for len(chunk) > 0 {
		n, err := f.file.WriteAt(chunk[:min(writeStep, len(chunk))], offset)
		if err != nil {
			return disk(err)
		}
		chunk, offset = chunk[n:], offset+int64(n)
	}
	return nil
}

// whole is asked after a failure: an object that is shorter than it should be would be read again for ever. No answer is no
// proof.
func (f *fetcher) whole(ctx context.Context) error {
	found, err := f.blobs.Blobs(ctx, f.key)
	if err != nil {
		return nil
	}
	for _, blob := range found {
		if blob.Key == f.key && blob.Size != f.result.Manifest.Stored {
			return corrupt("it has %d bytes, and its manifest says %d", blob.Size, f.result.Manifest.Stored)
		}
	}
	return nil
}
