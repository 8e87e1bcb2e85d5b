package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/store"
)

var errInjected = errors.New("injected")

// Every fault ends the backup with an error that names it, leaves nothing in the spool directory, and nothing in the store that
// counts; what was uploaded in vain is removed.
func TestTakeFaults(t *testing.T) {
	raw := sample(t)
	for name, c := range map[string]struct {
		arrange func(o *Options, s *faulty)
		want    string
		is      error
		left    int // objects
	}{
		"learner":    {arrange: status(func(s *clientv3.StatusResponse) { s.IsLearner = true }), is: ErrNotNow, want: "learner"},
		"no leader":  {arrange: status(func(s *clientv3.StatusResponse) { s.Leader = 0 }), is: ErrNotNow, want: "leader"},
		"alarm":      {arrange: status(func(s *clientv3.StatusResponse) { s.Errors = []string{"alarm:CORRUPT"} }), is: ErrNotNow, want: "CORRUPT"},
		"lag":        {arrange: status(func(s *clientv3.StatusResponse) { s.RaftIndex = 1101 }), is: ErrNotNow, want: "1001 log entries"},
		"no header":  {arrange: status(func(s *clientv3.StatusResponse) { s.Header = nil }), want: "no header"},
		"sum":        {arrange: sends(flipped(raw, len(raw)-1), nil), want: "etcd says"},
		"bit":        {arrange: sends(flipped(raw, ChunkSize+5), nil), want: "etcd says"},
		"no sum":     {arrange: sends(raw[:len(raw)-sha256.Size], nil), want: "it was cut"},
		"only a sum": {arrange: sends(raw[:sha256.Size], nil), want: "it was cut"},
		"nothing":    {arrange: sends(nil, nil), want: "it was cut"},
		"page cut":   {arrange: sends(raw[:ChunkSize+512], nil), want: "it was cut"},
		"dies":       {arrange: sends(raw[:ChunkSize], errInjected), is: errInjected, want: "after 8388608 bytes"},
		"no answer":  {arrange: func(o *Options, _ *faulty) { o.Etcd = refusing() }, is: errInjected, want: "snapshot"},
		"no database": {
			arrange: sends(summed(bytes.Repeat([]byte{7}, 8192)), nil), want: "database",
		},
		"torn database": {arrange: sends(summed(zeroed(raw)), nil), want: "database"},
		"disk too small": {
			arrange: func(o *Options, _ *faulty) { o.free = func(string) (int64, error) { return int64(len(raw)), nil } }, want: "make room",
		},
		"disk fills up": {
			arrange: func(o *Options, _ *faulty) { o.free = filling(2) }, want: "make room",
		},
		"upload dies": {
			arrange: func(_ *Options, s *faulty) { s.upload = dying }, is: errInjected, want: "upload",
		},
		"upload cut": {arrange: func(_ *Options, s *faulty) { s.upload = cutting(s) }, want: "the store lists"},
		"another's":  {arrange: func(_ *Options, s *faulty) { s.upload = occupied(s) }, want: "the store lists", left: 1},
		"another's of the same size": {
			arrange: func(o *Options, s *faulty) { s.upload, o.Check = occupiedAlike(s), CheckSizes }, is: ErrDamaged, want: "another node", left: 1,
		},
		"altered":       {arrange: func(_ *Options, s *faulty) { s.upload = altering(s) }, is: ErrDamaged, want: "chunk"},
		"fence":         {arrange: func(o *Options, _ *faulty) { o.Fence = func(context.Context) error { return errInjected } }, is: errInjected, want: "before the manifest"},
		"fence, locked": {arrange: fencedAndLocked, is: store.ErrLocked, want: "an incomplete backup stays", left: 1},
		"manifest": {
			arrange: func(_ *Options, s *faulty) {
				s.put = func(context.Context, string, []byte, store.Version) (store.Version, error) { return "", errInjected }
			}, is: errInjected, want: "manifest", left: 1,
		},
		"another manifest": {arrange: func(_ *Options, s *faulty) {
			s.put = func(ctx context.Context, key string, _ []byte, was store.Version) (store.Version, error) {
				_, _ = s.Dir.Put(ctx, key, []byte("another's"), was)
				return "", store.ErrConflict
			}
		}, is: store.ErrConflict, want: "manifest", left: 2},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			s := newStore(t)
			o := options(t, replay(raw), s)
			c.arrange(&o, s)
			_, _, err := taker(t, o).Take(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if left := keys(t, s); len(left) != c.left {
				t.Errorf("the store holds %v, want %d objects", left, c.left)
			}
			empty(t, o.SpoolDir)
		})
	}
}

func status(change func(*clientv3.StatusResponse)) func(*Options, *faulty) {
	return func(o *Options, _ *faulty) { change(&o.Etcd.(*source).status) }
}

// sends is an etcd that sends these bytes, and then an error.
func sends(raw []byte, err error) func(*Options, *faulty) {
	return func(o *Options, _ *faulty) {
		o.Etcd.(*source).snapshot = func(context.Context) (io.ReadCloser, error) {
			if err == nil {
				return io.NopCloser(bytes.NewReader(raw)), nil
			}
			return io.NopCloser(io.MultiReader(bytes.NewReader(raw), errorReader{err})), nil
		}
	}
}

// filling is a disk that is full at the n-th look.
func filling(n int) func(string) (int64, error) {
	return func(string) (int64, error) {
		if n--; n > 0 {
			return 1 << 40, nil
		}
		return 100, nil
	}
}

type errorReader struct{ error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.error }

func refusing() *source {
	return &source{status: healthy(1), snapshot: func(context.Context) (io.ReadCloser, error) { return nil, errInjected }}
}

func flipped(raw []byte, at int) []byte {
	raw = bytes.Clone(raw)
	raw[at] ^= 1
	return raw
}

// zeroed is a database whose pages are gone, but not its first two, which say where everything is.
func zeroed(raw []byte) []byte {
	raw = bytes.Clone(raw[:len(raw)-sha256.Size])
	clear(raw[2*os.Getpagesize():])
	return raw
}

func summed(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return append(bytes.Clone(raw), sum[:]...)
}

func dying(_ context.Context, _ string, r io.Reader) (store.Blob, error) {
	_, _ = io.CopyN(io.Discard, r, 1<<10)
	return store.Blob{}, errInjected
}

// cutting loses the end and says that all went well.
func cutting(s *faulty) func(context.Context, string, io.Reader) (store.Blob, error) {
	return func(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
		all, err := io.ReadAll(r)
		if err != nil {
			return store.Blob{}, err
		}
		return s.Dir.Upload(ctx, key, bytes.NewReader(all[:len(all)-1]))
	}
}

// altering stores one bit otherwise, near the end of the last chunk.
func altering(s *faulty) func(context.Context, string, io.Reader) (store.Blob, error) {
	return func(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
		all, err := io.ReadAll(r)
		if err != nil {
			return store.Blob{}, err
		}
		return s.Dir.Upload(ctx, key, bytes.NewReader(flipped(all, len(all)-1000)))
	}
}

// occupied finds another's object under the name.
func occupied(s *faulty) func(context.Context, string, io.Reader) (store.Blob, error) {
	return func(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
		if _, err := s.Dir.Upload(ctx, key, strings.NewReader("another's")); err != nil {
			return store.Blob{}, err
		}
		_, _ = io.Copy(io.Discard, r)
		return store.Blob{}, store.ErrConflict
	}
}

// occupiedAlike finds an object of the same size under the name.
func occupiedAlike(s *faulty) func(context.Context, string, io.Reader) (store.Blob, error) {
	return func(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
		if _, err := altering(s)(ctx, key, r); err != nil {
			return store.Blob{}, err
		}
		return store.Blob{}, store.ErrConflict
	}
}

func fencedAndLocked(o *Options, s *faulty) {
	o.Fence = func(context.Context) error { return errInjected }
	s.remove = func(context.Context, string) error { return store.ErrLocked }
}

// An answer that was lost, of the upload or of the manifest, makes no backup fail.
func TestTakeLostAnswers(t *testing.T) {
	s := newStore(t)
	s.upload = func(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
		if _, err := s.Dir.Upload(ctx, key, r); err != nil {
			return store.Blob{}, err
		}
		return store.Blob{}, store.ErrConflict // the attempt that was repeated
	}
	s.put = func(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
		if _, err := s.Dir.Put(ctx, key, data, was); err != nil {
			return "", err
		}
		return "", store.ErrConflict
	}
	raw := sample(t)
	o := options(t, replay(raw), s)
	o.Check = CheckSizes // what may be another's is read all the same
	entry, _, err := taker(t, o).Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(reassemble(t, s, entry), raw[:len(raw)-sha256.Size]) {
		t.Error("the store holds something else")
	}
}

// A context that ends during the upload ends the backup, and what was uploaded goes.
func TestTakeCancelled(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := options(t, replay(sample(t)), s)
	s.open = func(context.Context, string, int64, int64) (io.ReadCloser, error) {
		cancel() // it is being read back
		return nil, context.Canceled
	}
	if _, _, err := taker(t, o).Take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left := keys(t, s); len(left) != 0 {
		t.Errorf("the store holds %v", left)
	}
	empty(t, o.SpoolDir)
}

// etcd may send nothing, or nothing but empty messages, for ever: only bytes count as progress.
func TestTakeStalls(t *testing.T) {
	raw := sample(t)
	for name, chatter := range map[string]bool{"silent": false, "empty messages": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t)
				o := options(t, replay(raw), s)
				stop := make(chan struct{})
				o.Etcd.(*source).snapshot = func(ctx context.Context) (io.ReadCloser, error) {
					out, in := io.Pipe()
					go stalling(in, raw[:ChunkSize], chatter, stop)
					return out, nil
				}
				begun := time.Now()
				_, _, err := taker(t, o).Take(t.Context())
				close(stop)
				if err == nil || !strings.Contains(err.Error(), "no byte from etcd for 30s") {
					t.Errorf("error %v", err)
				}
				if took := time.Since(begun); took < 30*time.Second || took > 40*time.Second {
					t.Errorf("ended after %s", took)
				}
				synctest.Wait()
			})
		})
	}
}

// etcd is asked for no more than the rate, and that it is asked slowly is no stall.
func TestTakePaced(t *testing.T) {
	raw := sample(t)
	synctest.Test(t, func(t *testing.T) {
		o := options(t, replay(raw), newStore(t))
		o.Rate, o.Stall = int64(len(raw)/600), time.Second // a buffer takes longer than the watchdog waits
		begun := time.Now()
		if _, _, err := taker(t, o).Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 599*time.Second || took > 602*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func stalling(in *io.PipeWriter, raw []byte, chatter bool, stop chan struct{}) {
	_, _ = in.Write(raw)
	for chatter {
		select {
		case <-time.After(time.Second):
			if _, err := in.Write(nil); err != nil {
				return
			}
		case <-stop:
			return
		}
	}
	<-stop
}

// A real etcd that goes away while it sends ends the backup with an error.
func TestTakeEtcdDies(t *testing.T) {
	member := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true}).Members[0]
	client := member.Client(t)
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		if _, err := client.Put(t.Context(), key, strings.Repeat(key, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	s := newStore(t)
	o := options(t, newCut(t, member.ClientURL), s)
	_, _, err := taker(t, o).Take(t.Context())
	if err == nil || !strings.Contains(err.Error(), "snapshot: after") || strings.Contains(err.Error(), "no byte") {
		t.Errorf("error %v", err)
	}
	if left := keys(t, s); len(left) != 0 {
		t.Errorf("the store holds %v", left)
	}
	empty(t, o.SpoolDir)
}

// cut is a client whose connections break after the first bytes of a snapshot, as those of a killed server do.
type cut struct {
	*clientv3.Client
	mu    sync.Mutex
	conns []net.Conn
}

func newCut(t *testing.T, url string) *cut {
	t.Helper()
	c := new(cut)
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.conns = append(c.conns, conn)
		}
		return conn, err
	}
	var err error
	c.Client, err = clientv3.New(clientv3.Config{
		Endpoints: []string{url}, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (c *cut) SnapshotWithVersion(ctx context.Context) (*clientv3.SnapshotResponse, error) {
	answer, err := c.Client.SnapshotWithVersion(ctx)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, conn := range c.conns {
			_ = conn.Close()
		}
	}
	return answer, err
}
