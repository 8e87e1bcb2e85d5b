package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/store"
)

// body reads from one thing and closes another.
type body struct {
	io.Reader
	io.Closer
}

func flipped(b io.ReadCloser, at int) io.ReadCloser {
	data, _ := io.ReadAll(b) // a file
	data[at] ^= 0x40
	return body{bytes.NewReader(data), b}
}

func cutOff(b io.ReadCloser, at int64) io.ReadCloser {
	return body{io.MultiReader(io.LimitReader(b, at), broken{}), b}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// silent delivers nothing, and ends only when the request is given up.
type silent struct {
	io.ReadCloser
	ctx context.Context
}

func (s silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func isSnapshot(key string) bool { return strings.HasSuffix(key, "/snapshot.zst") }

// A store that misbehaves for a while delays a restore, and that is all.
func TestRidesOut(t *testing.T) {
	blobs, e := fixture(t)
	pass := func(b io.ReadCloser) (io.ReadCloser, error) { return b, nil }
	for name, change := range map[string]func(n int, key string, b io.ReadCloser) (io.ReadCloser, error){
		"an outage": func(n int, _ string, b io.ReadCloser) (io.ReadCloser, error) {
			if n <= 4 {
				return nil, errors.Join(b.Close(), errors.New("503 slow down"))
			}
			return pass(b)
		},
		"connections that break": func(n int, key string, b io.ReadCloser) (io.ReadCloser, error) {
			if isSnapshot(key) && n <= 6 {
				return cutOff(b, int64(n)<<20), nil
			}
			return pass(b)
		},
		"a stall": func(n int, _ string, b io.ReadCloser) (io.ReadCloser, error) {
			if n == 1 {
				return silent{b, nil}, nil
			}
			return pass(b)
		},
		"a bit flipped on the way": func(n int, key string, b io.ReadCloser) (io.ReadCloser, error) {
			if isSnapshot(key) && n == 1 {
				return flipped(b, 1<<20), nil
			}
			return pass(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			o := order(t, e)
			b := newBuild(o)
			if name == "a stall" {
				b.patience = 300 * time.Millisecond // in the others only what they provoke may end a request
			}
			faulty := &faulty{all: blobs, change: func(n int, key string, _ int64, body io.ReadCloser) (io.ReadCloser, error) {
				return change(n, key, body)
			}}
			r, err := b.restore(deadline(t), faulty)
			if err != nil {
				t.Fatal(err)
			}
			if faulty.n[e.SnapshotKey()] < 2 {
				t.Error("nothing went wrong")
			}
			whole(t, o, int(r.Revision-r.Reached))
		})
	}
}

// A restore says what kind of failure it is, and leaves nothing behind.
func TestFailures(t *testing.T) {
	blobs, e := fixture(t)
	snapshot := func(change func(b io.ReadCloser) (io.ReadCloser, error)) func(int, string, int64, io.ReadCloser) (io.ReadCloser, error) {
		return func(_ int, key string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
			if !isSnapshot(key) {
				return b, nil
			}
			return change(b)
		}
	}
	absent := fmt.Errorf("s3://b/k: %w", store.ErrAbsent)
	for name, c := range map[string]struct {
		change func(int, string, int64, io.ReadCloser) (io.ReadCloser, error)
		want   error
		text   string
	}{
		"flipped in the store": {snapshot(func(b io.ReadCloser) (io.ReadCloser, error) { return flipped(b, 5000), nil }), ErrCorrupt, "chunk 0"},
		"no snapshot":          {snapshot(func(b io.ReadCloser) (io.ReadCloser, error) { return nil, errors.Join(b.Close(), absent) }), ErrCorrupt, "no snapshot"},
		"no manifest": {func(_ int, key string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
			return nil, errors.Join(b.Close(), absent)
		}, ErrCorrupt, "manifest.json"},
		"not the manifest of this backup": {func(_ int, key string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
			data, _ := io.ReadAll(b)
			return body{bytes.NewReader(bytes.Replace(data, []byte(`"generation":3`), []byte(`"generation":4`), 1)), b}, nil
		}, ErrCorrupt, "4/"},
		"a newer format": {func(_ int, key string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
			return body{strings.NewReader(`{"version": 2, "new": []}`), b}, nil
		}, ErrNewer, "update the agent"},
		"a newer etcd": {func(_ int, key string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
			data, _ := io.ReadAll(b)
			return body{bytes.NewReader(bytes.Replace(data, []byte(`"etcdVersion":"3.6`), []byte(`"etcdVersion":"3.7`), 1)), b}, nil
		}, ErrNewer, "3.7"},
		"an outage that goes on": {func(_ int, _ string, _ int64, b io.ReadCloser) (io.ReadCloser, error) {
			return nil, errors.Join(b.Close(), errors.New("503 slow down"))
		}, context.DeadlineExceeded, "503"},
		"a snapshot that goes on failing": {snapshot(func(b io.ReadCloser) (io.ReadCloser, error) { return cutOff(b, 1000), nil }),
			context.DeadlineExceeded, "connection reset"},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			ctx := deadline(t)
			if errors.Is(c.want, context.DeadlineExceeded) {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			o := order(t, e)
			_, err := Restore(ctx, &faulty{all: blobs, change: c.change}, o)
			if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("error %v; want %v, with %q", err, c.want, c.text)
			}
			for _, other := range []error{ErrCorrupt, ErrNewer} {
				if !errors.Is(c.want, other) && errors.Is(err, other) {
					t.Errorf("error %v is %v, too", err, other)
				}
			}
			nothing(t, o)
		})
	}
}

// An object that lost its end is not waited for.
func TestTruncated(t *testing.T) {
	_, e := fixture(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(shared.dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, e.SnapshotKey()), 1<<20); err != nil {
		t.Fatal(err)
	}
	o := order(t, e)
	if _, err := Restore(deadline(t), store.NewDir(dir), o); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v; want %v", err, ErrCorrupt)
	}
	nothing(t, o)
}

// Requests are of 8 to 16 MiB, in the order of the chunks, without gaps.
func TestSpans(t *testing.T) {
	for name, lengths := range map[string][]int64{
		"small frames": {100, 200, 300}, "none compress": {8 << 20, 8 << 20, 8 << 20}, "one": {7},
		"mixed": {5 << 20, 7 << 20, 1 << 20, 9 << 20, 9 << 20, 1, 1, 8 << 20, 3 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			var chunks []backup.Chunk
			for _, length := range lengths {
				chunks = append(chunks, backup.Chunk{Length: length})
			}
			next := 0
			for _, s := range spans(chunks) {
				sum := int64(0)
				for _, c := range chunks[s.from:s.to] {
					sum += c.Length
				}
				if s.from != next || s.to <= s.from || sum > rangeHigh {
					t.Errorf("chunks %d to %d after %d, %d bytes", s.from, s.to, next, sum)
				}
				if s.to < len(chunks) && sum < rangeLow && sum+chunks[s.to].Length <= rangeHigh {
					t.Errorf("chunks %d to %d: another one would fit", s.from, s.to)
				}
				next = s.to
			}
			if next != len(chunks) {
				t.Errorf("%d chunks of %d", next, len(chunks))
			}
		})
	}
}
