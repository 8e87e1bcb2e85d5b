package store

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// How an object is cut into parts. S3 takes 10,000 of them (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
const (
	mib        = 1 << 20
	smallBlob  = 64 << 10 // what is no larger never costs the memory of a part
	firstPart  = 8 * mib
	laterParts = 12 * mib // by which parts grow every partsAlike: together they reach 600 GiB
	partsAlike = 1000     // some compatible stores want parts of one size: up to 7.8 GiB they are
	maxParts   = 10_000
	inFlight   = 3 // parts in memory: being read, or being sent
)

// partSize is the size in bytes of part n, from 0.
func partSize(n int) int { return firstPart + n/partsAlike*laterParts }

// part is a piece of an object.
type part struct {
	n    int // from 0
	data []byte
	last bool
	err  error // of the reader; what was read before it is of no use
}

// parts are cut from a reader by a goroutine of their own, so that a reader that hangs can be left behind.
type parts struct {
	size  func(n int) int
	ready chan part
	free  chan []byte
}

// cut begins to read. The goroutine ends with the reader, or with ctx as soon as the reader returns.
func cut(ctx context.Context, r io.Reader, watch *watch) *parts {
	return cutInto(ctx, partSize, r, watch)
}

func cutInto(ctx context.Context, size func(n int) int, r io.Reader, watch *watch) *parts {
	p := &parts{size: size, ready: make(chan part), free: make(chan []byte, inFlight)}
	for range inFlight {
		p.free <- nil
	}
	go p.read(ctx, &noticed{r, watch})
	return p
}

func (p *parts) read(ctx context.Context, r io.Reader) {
	for n := 0; ; n++ {
		var buffer []byte
		select {
		case buffer = <-p.free:
		case <-ctx.Done():
			return
		}
		next := part{n: n}
		next.data, next.err = fill(r, buffer[:0], p.size(n))
		if errors.Is(next.err, io.EOF) {
			next.last, next.err = true, nil
		}
		if next.err == nil && n == maxParts && len(next.data) > 0 {
			next.err = fmt.Errorf("larger than %d parts", maxParts)
		}
		select {
		case p.ready <- next:
		case <-ctx.Done():
			return
		}
		if next.last || next.err != nil {
			return
		}
	}
}

// next waits for a part.
func (p *parts) next(ctx context.Context) (part, error) {
	select {
	case next := <-p.ready:
		if next.err != nil {
			return part{}, fmt.Errorf("read: %w", next.err)
		}
		return next, nil
	case <-ctx.Done():
		return part{}, context.Cause(ctx)
	}
}

// done gives a part's memory back.
func (p *parts) done(used part) { p.free <- used.data }

// fill reads size bytes, in the memory of buffer if it suffices; io.EOF comes with what there was before it.
func fill(r io.Reader, buffer []byte, size int) ([]byte, error) {
	for len(buffer) < size {
		if len(buffer) == cap(buffer) {
			larger := size
			if cap(buffer) == 0 {
				larger = smallBlob
			}
			buffer = append(make([]byte, 0, larger), buffer...)
		}
		n, err := r.Read(buffer[len(buffer):min(cap(buffer), size)])
		buffer = buffer[:len(buffer)+n]
		if err != nil {
			return buffer, err
		}
	}
	return buffer, nil
}

// noticed is a reader that tells the watch when it moves.
type noticed struct {
	io.Reader
	watch *watch
}

// Read implements io.Reader.
func (n *noticed) Read(p []byte) (int, error) {
	const patience = 100 // reads of nothing
	for range patience {
		got, err := n.Reader.Read(p)
		if got > 0 {
			n.watch.moved()
		}
		if got > 0 || err != nil {
			return got, err
		}
	}
	return 0, io.ErrNoProgress
}
