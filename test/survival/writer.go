package survival

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/status"
)

// watched is the key that the writer changes again and again.
const watched = "/test/watched"

// Acked is a write that etcd acknowledged.
type Acked struct {
	Revision int64
	At       time.Time
}

// Writer writes one key after the other, and does not go on before each is acknowledged.
type Writer struct {
	Name   string // of its keys
	c      *Cluster
	Client *clientv3.Client
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	acked []Acked // of the key of that number
	began time.Time
}

// pace is the pause between two writes.
const pace = 5 * time.Millisecond

// NewWriter begins to write keys that no other writer has.
func (c *Cluster) NewWriter(ctx context.Context, name string) *Writer {
	c.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	w := &Writer{Name: name, c: c, Client: c.Client(c.Masters()...), stop: cancel, began: time.Now()}
	w.done.Go(func() { w.follow(ctx) })
	w.done.Go(func() { w.write(ctx) })
	c.whole.Cleanup(w.Stop)
	return w
}

// Stop ends it.
func (w *Writer) Stop() {
	w.stop()
	w.done.Wait()
}

// follow keeps the client's endpoints those of the masters that are there.
func (w *Writer) follow(ctx context.Context) {
	var known []string
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
		var now []string
		for _, n := range w.c.Masters() {
			if s, err := n.Status(); err == nil && s.State == status.StateReady {
				now = append(now, w.c.Etcd("main").Endpoints(n)...)
			}
		}
		if len(now) > 0 && !slices.Equal(now, known) {
			w.Client.SetEndpoints(now...)
			known = now
		}
	}
}

func (w *Writer) key(number int) string { return fmt.Sprintf("/test/%s/%06d", w.Name, number) }

// write writes the keys. What is not acknowledged is written again: it is the same.
func (w *Writer) write(ctx context.Context) {
	for number := 0; ctx.Err() == nil; {
		revision, err := w.put(ctx, number)
		if err == nil {
			w.mu.Lock()
			w.acked = append(w.acked, Acked{revision, time.Now()})
			w.mu.Unlock()
			number++
		}
		select {
		case <-ctx.Done():
		case <-time.After(pace):
		}
	}
}

// put writes a key and changes the watched one, in one transaction.
func (w *Writer) put(ctx context.Context, number int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	value := fmt.Sprint(number)
	answer, err := w.Client.Txn(ctx).Then(clientv3.OpPut(w.key(number), value), clientv3.OpPut(watched, value)).Commit()
	if err != nil {
		return 0, err
	}
	return answer.Header.Revision, nil
}

// Acked are the writes that were acknowledged so far.
func (w *Writer) Acked() []Acked {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acked)
}

// More waits until n more writes are acknowledged.
func (w *Writer) More(ctx context.Context, n int) {
	w.c.t.Helper()
	want := len(w.Acked()) + n
	w.c.Await(ctx, fmt.Sprintf("%d writes", want), func() error {
		if now := len(w.Acked()); now < want {
			return fmt.Errorf("%d writes are acknowledged", now)
		}
		return nil
	})
}

// Pause is the longest time without an acknowledged write.
func (w *Writer) Pause() time.Duration {
	longest, last := time.Duration(0), w.began
	for _, a := range w.Acked() {
		longest, last = max(longest, a.At.Sub(last)), a.At
	}
	return longest
}

// Survived is how many of the acknowledged writes, counted from the first, a state holds; it is an error if it holds one
// after one that it lacks.
func (w *Writer) Survived(t *testing.T, s State) int {
	t.Helper()
	survived, acked := 0, w.Acked()
	for survived < len(acked) && s.Keys[w.key(survived)] == fmt.Sprint(survived) {
		survived++
	}
	for n := survived; n < len(acked); n++ {
		if _, there := s.Keys[w.key(n)]; there {
			t.Errorf("write %d is there, and %d, which was before it, is not", n, survived)
		}
	}
	return survived
}

// Seen watches the watched key from its beginning until ctx ends, and tells what it saw so far: the values in order.
func (w *Writer) Seen(ctx context.Context) (so func() []string) {
	var mu sync.Mutex
	var seen []string
	events := w.Client.Watch(clientv3.WithRequireLeader(ctx), watched, clientv3.WithRev(1))
	go func() { // until the client ends
		for answer := range events {
			mu.Lock()
			for _, e := range answer.Events {
				seen = append(seen, string(e.Kv.Value))
			}
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}
