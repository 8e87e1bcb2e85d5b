package join

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// lookupPause is how long the first of a batch waits for others, and lookupSize how many are asked about at once: EC2
	// allows an account a few DescribeInstances a second, whatever their size.
	lookupPause = 30 * time.Millisecond
	lookupSize  = 100
	// lookupTime bounds one question, the wait for the one before it included.
	lookupTime = 20 * time.Second
)

// lookups asks about instances in batches, one batch at a time.
type lookups struct {
	ask    func(ctx context.Context, ids []string) (map[string]Instance, error)
	flight chan struct{} // holds one while a question is asked

	mu   sync.Mutex
	next *batch // takes further ids; nil: none does
	wg   sync.WaitGroup
}

type batch struct {
	ctx     context.Context
	cancel  context.CancelFunc // when nobody waits any more
	ids     map[string]struct{}
	waiting int
	full    chan struct{}

	done  chan struct{} // closed when found and err are there
	found map[string]Instance
	err   error
}

func newLookups(ask func(ctx context.Context, ids []string) (map[string]Instance, error)) *lookups {
	return &lookups{ask: ask, flight: make(chan struct{}, 1)}
}

// find returns an instance, and whether it is known. It waits no longer than its own context.
func (l *lookups) find(ctx context.Context, id string) (Instance, bool, error) {
	b := l.board(ctx, id)
	defer l.leave(b)
	select {
	case <-ctx.Done():
		return Instance{}, false, context.Cause(ctx)
	case <-b.done:
		i, ok := b.found[id]
		return i, ok, b.err
	}
}

// board takes a place in the next batch.
func (l *lookups) board(ctx context.Context, id string) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.next
	if b == nil {
		b = &batch{ids: map[string]struct{}{}, full: make(chan struct{}), done: make(chan struct{})}
		// The batch is not one caller's: it goes on when the one that began it leaves.
		b.ctx, b.cancel = context.WithTimeout(context.WithoutCancel(ctx), lookupTime)
		l.next = b
		l.wg.Go(func() { l.run(b) })
	}
	b.ids[id] = struct{}{}
	b.waiting++
	if len(b.ids) == lookupSize {
		close(b.full)
		l.next = nil
	}
	return b
}

func (l *lookups) leave(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.waiting--; b.waiting == 0 {
		b.cancel()
		if l.next == b {
			l.next = nil
		}
	}
}

func (l *lookups) run(b *batch) {
	defer close(b.done)
	select {
	case <-b.full:
	case <-b.ctx.Done():
	case <-time.After(lookupPause):
	}
	select {
	case l.flight <- struct{}{}:
		defer func() { <-l.flight }()
	case <-b.ctx.Done():
	}
	ids := l.depart(b)
	if b.err = b.ctx.Err(); b.err == nil {
		b.found, b.err = l.ask(b.ctx, ids)
	}
	if errors.Is(b.err, context.DeadlineExceeded) {
		b.err = errors.New("ec2: no answer within " + lookupTime.String())
	}
}

// depart closes the batch: whoever comes now takes the next one.
func (l *lookups) depart(b *batch) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == b {
		l.next = nil
	}
	ids := make([]string, 0, len(b.ids))
	for id := range b.ids {
		ids = append(ids, id)
	}
	return ids
}
