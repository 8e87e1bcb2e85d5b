package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"rekindle/agent/store"
)

// How often, and for how long, a chunk is read before nobody knows.
const (
	attempts   = 4
	pause      = 500 * time.Millisecond // after the first attempt, give or take a half; then longer
	chunkLimit = 2 * time.Minute        // for one attempt
)

// Report is what Verify found.
type Report struct {
	Manifest Manifest
	Reaches  int64        // the revision that a restore arrives at
	Deltas   int          // how many of them were checked
	Stranded []DeltaEntry // deltas that nothing leads to: something between is missing
	Damaged  []string     // what is wrong, one line each
}

// Verify reads a backup as a restore would: the manifest, every chunk, and each delta by the function given (nil: deltas are
// listed only), whose error is damage if it is ErrDamaged. It holds a few chunks in memory. ErrDamaged: the report says what is wrong, and another backup must do;
// store.ErrAbsent: it is gone; any other error: nobody knows yet.
func Verify(ctx context.Context, blobs store.Blobs, entry Entry, delta func(context.Context, DeltaEntry) error) (Report, error) {
	report := Report{Reaches: entry.Reaches()}
	manifest, err := ReadManifest(ctx, blobs, entry)
	if err != nil {
		return report, err
	}
	report.Manifest = manifest
	r := reader{blobs: blobs, key: entry.SnapshotKey(), manifest: &manifest, workers: workers()}
	if report.Damaged, err = r.check(ctx); err == nil {
		err = report.deltas(ctx, entry, delta)
	}
	if err == nil {
		err = summary(report.Damaged)
	}
	if err != nil {
		return report, fmt.Errorf("backup %s of etcd %s: %w", entry.ID, entry.Cluster, err)
	}
	return report, nil
}

// summary is ErrDamaged with the first few lines of what is wrong, nil for nothing.
func summary(damaged []string) error {
	const few = 3
	switch more := len(damaged) - few; {
	case len(damaged) == 0:
		return nil
	case more > 0:
		return damage{fmt.Errorf("%s; and %d more", strings.Join(damaged[:few], "; "), more)}
	}
	return damage{errors.New(strings.Join(damaged, "; "))}
}

func (r *Report) deltas(ctx context.Context, entry Entry, check func(context.Context, DeltaEntry) error) error {
	reached := entry.Revision
	for _, d := range entry.Deltas {
		if d.Base > reached {
			r.Stranded = append(r.Stranded, d)
			continue
		}
		reached = max(reached, d.Last)
		if check == nil {
			continue
		}
		if err := check(ctx, d); errors.Is(err, ErrDamaged) {
			r.Damaged = append(r.Damaged, err.Error())
		} else if err != nil {
			return err
		}
		r.Deltas++
	}
	return nil
}

// reader reads the chunks of a snapshot back.
type reader struct {
	blobs    store.Blobs
	key      string
	manifest *Manifest
	workers  int
}

// check returns what is wrong with the chunks, in their order. An error: nobody knows.
func (r *reader) check(ctx context.Context) ([]string, error) {
	var mu sync.Mutex
	damaged := map[int]string{}
	next := make(chan int)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(next)
		for i := range r.manifest.Chunks {
			select {
			case next <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range r.workers {
		group.Go(func() error {
			return r.work(ctx, next, func(i int, err error) {
				mu.Lock()
				defer mu.Unlock()
				damaged[i] = err.Error()
			})
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []string
	for i := range r.manifest.Chunks {
		if text, ok := damaged[i]; ok {
			all = append(all, text)
		}
	}
	return slices.Clip(all), nil
}

func (r *reader) work(ctx context.Context, next chan int, damaged func(int, error)) error {
	decoder, err := Decoder()
	if err != nil {
		return err
	}
	defer decoder.Close()
	var packed, data []byte
	for i := range next {
		packed, data, err = r.chunk(ctx, i, decoder, packed, data)
		switch {
		case errors.Is(err, ErrDamaged):
			damaged(i, fmt.Errorf("chunk %d: %w", i, err))
		case err != nil:
			return fmt.Errorf("chunk %d: %w", i, err)
		}
	}
	return nil
}

// chunk reads and checks one chunk. The buffers are used again.
func (r *reader) chunk(ctx context.Context, i int, decoder *zstd.Decoder, packed, data []byte) ([]byte, []byte, error) {
	c := r.manifest.Chunks[i]
	packed = grown(packed, int(c.Length))
	if err := r.read(ctx, c, packed); err != nil {
		return packed, data, err
	}
	_, length := r.manifest.Span(i)
	data, err := c.Decode(decoder, packed, grown(data, int(length)), length)
	return packed, data, err
}

// read fills packed. The object has its size, by the listing, so what comes short is tried again.
func (r *reader) read(ctx context.Context, c Chunk, packed []byte) error {
	for attempt := 1; ; attempt++ {
		err := r.attempt(ctx, c, packed)
		if err == nil || attempt == attempts || ctx.Err() != nil || errors.Is(err, store.ErrAbsent) {
			return err
		}
		select {
		case <-time.After(time.Duration(attempt) * (pause/2 + rand.N(pause))):
		case <-ctx.Done():
			return err
		}
	}
}

func (r *reader) attempt(ctx context.Context, c Chunk, packed []byte) error {
	ctx, cancel := context.WithTimeout(ctx, chunkLimit)
	defer cancel()
	body, err := r.blobs.Open(ctx, r.key, c.Offset, c.Length)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.ReadFull(body, packed); err != nil {
		return fmt.Errorf("%s: %w", r.key, err)
	}
	return nil
}
