package store

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestPartSizes(t *testing.T) {
	total := 0
	for n := range maxParts {
		size := partSize(n)
		if size < firstPart || size > 5<<30 || n > 0 && size < partSize(n-1) {
			t.Errorf("part %d: %d bytes", n, size)
		}
		total += size
		if n < 1000 && size != 8<<20 {
			t.Errorf("part %d: %d bytes: up to 7.8 GiB all are to be alike", n, size)
		}
	}
	if total < 500<<30 {
		t.Errorf("%d parts are %d bytes", maxParts, total)
	}
}

// endless claims to have read, so that hundreds of GiB cost nothing.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(e.left, int64(len(p)))
	e.left -= n
	return int(n), nil
}

// TestCutEnds: what fills all parts that S3 takes is no larger than that, and a byte more is.
func TestCutEnds(t *testing.T) {
	for _, size := range []int64{0, 1, 2, 3, maxParts + maxParts/2 - 1, maxParts + maxParts/2, maxParts + maxParts/2 + 1} {
		ctx, watch := watched(t.Context(), time.Hour)
		growing := func(n int) int { return 1 + 2*n/maxParts }
		cutting := cutInto(ctx, growing, &endless{size}, watch)
		var total int64
		for n := 0; ; n++ {
			next, err := cutting.next(ctx)
			if tooLarge := err != nil && strings.Contains(err.Error(), "larger than 10000 parts"); tooLarge != (size > maxParts+maxParts/2) && err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			if err != nil {
				break
			}
			if next.n != n || !next.last && len(next.data) != growing(n) {
				t.Fatalf("%d bytes: part %d of %d bytes", size, n, len(next.data))
			}
			total += int64(len(next.data))
			if next.last {
				if total != size || size > maxParts+maxParts/2 {
					t.Errorf("cut %d bytes of %d", total, size)
				}
				break
			}
			cutting.done(next)
		}
		watch.stop()
	}
}

// TestCutHoldsFew: nobody gives a part back, so no more than inFlight are read.
func TestCutHoldsFew(t *testing.T) {
	ctx, watch := watched(t.Context(), 100*time.Millisecond)
	defer watch.stop()
	cutting := cut(ctx, &endless{1 << 40}, watch)
	for range inFlight {
		if _, err := cutting.next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cutting.next(ctx); !errors.Is(err, errStalled) {
		t.Errorf("one part more: %v", err)
	}
}

// TestFillKeepsSmallOnesSmall: what is no larger than smallBlob never costs the memory of a part.
func TestFillKeepsSmallOnesSmall(t *testing.T) {
	grown, err := fill(&endless{1 << 30}, make([]byte, 0, 10), 1<<20)
	if err != nil || len(grown) != 1<<20 || cap(grown) != 1<<20 {
		t.Errorf("%d bytes in %d, %v", len(grown), cap(grown), err)
	}
	data, err := fill(strings.NewReader("delta"), nil, firstPart)
	if !errors.Is(err, io.EOF) || string(data) != "delta" || cap(data) > smallBlob {
		t.Errorf("%q in %d bytes, %v", data, cap(data), err)
	}
	again, err := fill(iotest.OneByteReader(strings.NewReader("other")), data[:0], firstPart)
	if !errors.Is(err, io.EOF) || string(again) != "other" || &again[0] != &data[0] {
		t.Errorf("%q, %v", again, err)
	}
}

// TestReaderThatGivesNothing is not asked for ever.
func TestReaderThatGivesNothing(t *testing.T) {
	ctx, watch := watched(context.Background(), time.Hour)
	defer watch.stop()
	nothing := &noticed{iotest.DataErrReader(strings.NewReader("")), watch}
	if _, err := nothing.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	cutting := cut(ctx, lazy{}, watch)
	if _, err := cutting.next(ctx); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

type lazy struct{}

func (lazy) Read([]byte) (int, error) { return 0, nil }
