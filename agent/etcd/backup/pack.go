package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// packer makes the frames of snapshot.zst from a spool. It holds two buffers of a chunk for each worker, and one more.
type packer struct {
	spool   *spool
	workers int
	level   zstd.EncoderLevel
}

// frame is a chunk on its way.
type frame struct {
	data  []byte // of the database, until it is packed
	bytes []byte // packed
	chunk Chunk
	err   error
	done  chan struct{}
}

// pack writes the frames to w, in order, and returns where each one lies.
func (p *packer) pack(ctx context.Context, w io.Writer) ([]Chunk, error) {
	work := make(chan *frame)             // to whoever is free
	order := make(chan *frame, p.workers) // to the writer
	idle := make(chan *frame, p.workers+1)
	for range cap(idle) {
		idle <- &frame{}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(work)
		defer close(order)
		return p.read(ctx, idle, work, order)
	})
	for range p.workers {
		group.Go(func() error { return p.encode(work) })
	}
	var chunks []Chunk
	group.Go(func() (err error) {
		chunks, err = collect(ctx, w, order, idle)
		return err
	})
	err := group.Wait()
	return chunks, err
}

// read reads chunks one after the other.
func (p *packer) read(ctx context.Context, idle, work, order chan *frame) error {
	m := Manifest{Size: p.spool.size}
	for i := range p.spool.blake3 {
		var f *frame
		select {
		case f = <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
		offset, length := m.Span(i)
		f.data = grown(f.data, int(length))
		if _, err := p.spool.ReadAt(f.data, offset); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		f.chunk, f.err, f.done = Chunk{BLAKE3: p.spool.blake3[i]}, nil, make(chan struct{})
		for _, next := range []chan *frame{work, order} {
			select {
			case next <- f:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func grown(buffer []byte, length int) []byte {
	if cap(buffer) < length {
		return make([]byte, length)
	}
	return buffer[:length]
}

// encode packs what comes until nothing more comes.
func (p *packer) encode(work chan *frame) error {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(p.level), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	for f := range work {
		// The disk may have lost what etcd sent; the manifest vouches for what etcd sent.
		if got := blake3Of(f.data); got != f.chunk.BLAKE3 {
			f.err = fmt.Errorf("spool: its disk returned other bytes than were written: blake3 is %s, was %s", got, f.chunk.BLAKE3)
		} else {
			f.chunk.SHA256 = sha256Of(f.data)
			f.bytes = encoder.EncodeAll(f.data, grown(f.bytes, encoder.MaxEncodedSize(ChunkSize))[:0])
		}
		close(f.done)
	}
	return encoder.Close()
}

// collect writes frames in the order of their chunks.
func collect(ctx context.Context, w io.Writer, order, idle chan *frame) ([]Chunk, error) {
	var chunks []Chunk
	offset := int64(0)
	for f := range order {
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if f.err != nil {
			return nil, f.err
		}
		if _, err := w.Write(f.bytes); err != nil {
			return nil, err
		}
		f.chunk.Offset, f.chunk.Length = offset, int64(len(f.bytes))
		offset += f.chunk.Length
		chunks = append(chunks, f.chunk)
		idle <- f // never blocks: there are as many places as frames
	}
	return chunks, nil
}

var errStopped = errors.New("the reader stopped")

// pipe lets one function write what the other reads. The writer's error is the cause of the
// reader's, unless the reader stopped first.
func pipe(write func(io.Writer) error, read func(io.Reader) error) error {
	out, in := io.Pipe()
	var wrote error
	var writer sync.WaitGroup
	writer.Go(func() {
		wrote = write(in)
		_ = in.CloseWithError(wrote) // nil is EOF
	})
	err := read(out)
	_ = out.CloseWithError(errStopped)
	writer.Wait()
	if wrote != nil && !errors.Is(wrote, errStopped) {
		return wrote
	}
	return err
}
