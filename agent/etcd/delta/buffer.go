package delta

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// buffer holds what the watch has delivered and nobody has stored. One goroutine adds, one cuts.
type buffer struct {
	limit int           // bytes
	early chan struct{} // gets one when a delta should be closed before its time
	moved chan struct{} // gets one when something was added
	freed chan struct{} // gets one when something was stored

	mu      sync.Mutex
	changes []mvccpb.Event
	last    int64 // revision of the last change that was added
	waiting int   // bytes in changes
	flying  int   // bytes that were cut and are not stored yet
}

func newBuffer(from int64, limit int) *buffer {
	signal := func() chan struct{} { return make(chan struct{}, 1) }
	return &buffer{limit: limit, last: from, early: signal(), moved: signal(), freed: signal()}
}

// add takes one answer of the watch, which never ends inside a revision. Its first change is of the next revision, and no
// revision between its changes is missing.
func (b *buffer) add(events []*clientv3.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.last
	for i, e := range events {
		if rev := e.Kv.ModRevision; rev != at+1 && (i == 0 || rev != at) {
			return fmt.Errorf("revision %d came after %d: %w", rev, at, ErrGap)
		}
		at = e.Kv.ModRevision
	}
	for _, e := range events {
		change := mvccpb.Event{Type: e.Type, Kv: e.Kv}
		b.changes = append(b.changes, change)
		b.waiting += size(&change)
	}
	b.last = at
	send(b.moved)
	if b.waiting >= b.limit/2 {
		send(b.early)
	}
	return nil
}

// cut takes whole revisions, no more of them than half the limit holds, but one at least. What is left is worth another turn at
// once. There is nothing flying when it is called.
func (b *buffer) cut() (changes []mvccpb.Event, last int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	end, bytes := 0, 0
	for i := range b.changes {
		bytes += size(&b.changes[i])
		if bytes > min(b.limit, MaxSize)/2 && end > 0 {
			break
		}
		if i+1 == len(b.changes) || b.changes[i+1].Kv.ModRevision != b.changes[i].Kv.ModRevision {
			end, b.flying, last = i+1, bytes, b.changes[i].Kv.ModRevision
		}
	}
	changes = b.changes[:end:end]
	b.changes = slices.Clone(b.changes[end:]) // what was cut is to be freed
	b.waiting -= b.flying
	if len(b.changes) > 0 {
		send(b.early)
	}
	return changes, last
}

// stored forgets what was cut.
func (b *buffer) stored() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flying = 0
	send(b.freed)
}

// end is the revision that was seen last.
func (b *buffer) end() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// held is what is in memory, in bytes.
func (b *buffer) held() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting + b.flying
}

// await waits until rev has been seen, for so long at most.
func (b *buffer) await(ctx context.Context, rev int64, atMost time.Duration) {
	over := time.NewTimer(atMost)
	defer over.Stop()
	for b.end() < rev {
		select {
		case <-b.moved:
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// room waits until half of it is free: a watch that begins anew costs etcd more than one that goes on.
func (b *buffer) room(ctx context.Context) error {
	for b.held() > b.limit/2 {
		select {
		case <-b.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func send(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
