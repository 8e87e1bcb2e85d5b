package assets

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// bufferSize is what a worker holds of a stream at a time, in bytes.
const bufferSize = 256 << 10

// errStalled ends a request that delivers nothing.
var errStalled = errors.New("stalled")

// worker moves chunks from the sources into parts. It owns one buffer and one hash for all its jobs.
type worker struct {
	store *Store
	by    digest
	hash  hash.Hash
	buf   []byte
}

func (f *fetch) work(ctx context.Context) error {
	by := fastest()
	w := &worker{store: f.store, by: by, hash: by.new(), buf: make([]byte, bufferSize)}
	for j := range f.jobs {
		complete, err := w.do(ctx, j)
		if err == nil && complete {
			err = f.complete(j.part)
		}
		if err != nil {
			return fmt.Errorf("asset %s: %w", j.part.object.Path, err)
		}
	}
	return nil
}

// do makes the job's chunks sound, and reports whether they were the last that the part missed. Chunks that are
// claimed are looked at first; what lies between two sound ones is transferred in one request.
func (w *worker) do(ctx context.Context, j job) (complete bool, err error) {
	p := j.part
	for i := j.from; i < j.to; {
		if p.claimed[i] && p.sound(i, w.by, w.hash, w.buf) {
			if complete, err = p.done(i); err != nil {
				return false, err
			}
			i++
			continue
		}
		p.claimed[i] = false
		end := i + 1
		for end < j.to && !p.claimed[end] {
			end++
		}
		if complete, err = w.transfer(ctx, p, i, end); err != nil {
			return false, err
		}
		i = end
	}
	return complete, nil
}

// transfer fetches the chunks [from, to), from whichever source has them, with as many requests as it takes.
func (w *worker) transfer(ctx context.Context, p *part, from, to int) (complete bool, err error) {
	t := newTrial(w.store, p.object)
	for from < to {
		i, err := t.next(ctx, from)
		if err != nil {
			return false, err
		}
		end := to
		if t.corrupted() {
			end = from + 1 // only the bad chunk goes to another source; the rest returns to the preferred one
		}
		n, last, err := w.stream(ctx, w.store.sources[i], p, from, end)
		complete = complete || last
		from += n
		if n > 0 {
			t.progressed()
		}
		if err == nil {
			w.store.health[i].succeeded()
			continue
		}
		if ctx.Err() != nil {
			return false, t.gaveUp(context.Cause(ctx))
		}
		if fatal := t.failed(i, err); fatal != nil {
			return false, fatal
		}
		p.span.Attempt()
	}
	return complete, nil
}

// stream reads chunks [from, to) from one source, each hashed as it passes and written to its place. It returns how
// many arrived sound before err.
func (w *worker) stream(ctx context.Context, src Source, p *part, from, to int) (n int, complete bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := w.store.options.ReadTimeout
	stall := time.AfterFunc(patience, func() { cancel(fmt.Errorf("%w: no bytes for %s", errStalled, patience)) })
	defer stall.Stop()
	defer func() {
		if err != nil {
			err = cause(ctx, err)
		}
	}()

	offset, _ := p.spanOf(from)
	lastOffset, lastLength := p.spanOf(to - 1)
	key, r := w.store.locate(p.object), Range{Offset: offset, Length: lastOffset + lastLength - offset, ETag: p.object.ETag}
	body, err := src.Get(ctx, key, r)
	if err != nil {
		return 0, false, err
	}
	defer body.Close()
	for i := from; i < to; i++ {
		if err := w.chunk(body, p, i, func() { stall.Reset(patience) }); err != nil {
			return n, false, err
		}
		if complete, err = p.done(i); err != nil {
			return n, false, &diskFailure{err}
		}
		n++
	}
	return n, complete, nil
}

// chunk reads one chunk. Its bytes are written before they are known to be sound: the journal is what makes them count.
func (w *worker) chunk(body io.Reader, p *part, i int, alive func()) error {
	offset, left := p.spanOf(i)
	w.hash.Reset()
	for left > 0 {
		n, err := body.Read(w.buf[:min(int64(len(w.buf)), left)])
		if n > 0 {
			alive()
			p.span.AddBytes(int64(n))
			w.hash.Write(w.buf[:n])
			if _, err := p.file.WriteAt(w.buf[:n], offset); err != nil {
				return &diskFailure{diskError(p.cache, p.object, err)}
			}
			offset, left = offset+int64(n), left-int64(n)
		}
		if err != nil && left > 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	if p.object.SHA256 == "" {
		return nil // an unverified prefix: the size is all there is to compare
	}
	if got, want := sum(w.hash), w.by.of(p.object.Chunks[i]); got != want {
		return &corruption{chunk: i, digest: w.by.name, got: got, want: want}
	}
	return nil
}
