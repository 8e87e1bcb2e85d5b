package assets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/status"
)

// runChunks is how many neighbouring chunks one request asks for at most: enough that latency does not count, few
// enough that all workers share a large object to its end.
const runChunks = 4

// Fetch brings objects into the cache. When it returns nil each of them is at File(o), complete and verified. What was
// transferred before an error, or before the agent was stopped, is kept and not transferred again.
//
// Errors carry AssetCorrupt, AssetMissing, StoreAccessDenied or StoreUnreachable. Temporary failures are retried until
// ctx ends, or Options.Timeout if ctx has no deadline.
func (s *Store) Fetch(ctx context.Context, objects ...Object) error {
	if missing := s.missing(objects); len(missing) > 0 {
		if err := s.fetch(ctx, missing); err != nil {
			return err
		}
	}
	if s.options.SyncLater {
		return nil
	}
	return s.settle(ctx, objects) // what another process left unsynced; our own is on disk
}

func (s *Store) fetch(ctx context.Context, missing []Object) (err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if current := status.Current(ctx); current == nil || current.Name != "assets" {
		var span *status.Span
		ctx, span = status.Step(ctx, "assets")
		defer func() { span.Done(err) }()
	}
	unlock, err := s.cache.lock(ctx, syscall.LOCK_SH)
	if err != nil {
		return err
	}
	defer unlock()

	f := &fetch{store: s, jobs: make(chan job)}
	defer f.closeParts()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.feed(ctx, missing) })
	for range s.options.Parallel {
		group.Go(func() error { return f.work(ctx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if f.cut != nil {
		return fmt.Errorf("assets: not all fetched: %w", f.cut)
	}
	return nil
}

// missing is which of the objects are not in the cache, each once, the largest first: what is long should not begin
// last.
func (s *Store) missing(objects []Object) []Object {
	seen := make(map[string]bool, len(objects))
	var missing []Object
	for _, o := range objects {
		if !seen[o.name()] && !s.cache.has(o) {
			missing = append(missing, o)
		}
		seen[o.name()] = true
	}
	slices.SortStableFunc(missing, func(a, b Object) int { return cmp.Compare(b.Size, a.Size) })
	return missing
}

// bounded gives ctx the default deadline if it has none.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.options.Timeout)
}

// fetch is one call of Fetch: objects become parts, parts are cut into jobs, and the workers share the jobs of all.
type fetch struct {
	store *Store
	jobs  chan job

	mu    sync.Mutex
	parts []*part // still open
	cut   error   // why ctx ended before all objects were begun, if it did
}

// job is some neighbouring chunks of one part.
type job struct {
	part     *part
	from, to int
}

// feed opens one part after the other and hands out its jobs. It never waits for an object that somebody else is
// making while others can be made, so two agents that want the same objects in different order cannot block each other.
func (f *fetch) feed(ctx context.Context, objects []Object) error {
	defer close(f.jobs)
	for {
		var busy []Object
		for _, o := range objects {
			err := f.begin(ctx, o)
			switch {
			case f.cut != nil:
				return nil
			case errors.Is(err, errBusy):
				busy = append(busy, o)
			case err != nil:
				return fmt.Errorf("asset %s: %w", o.Path, err)
			}
		}
		if len(busy) == 0 {
			return nil
		}
		objects = busy
		if err := f.awaitOthers(ctx, busy[0]); err != nil {
			return err
		}
	}
}

func (f *fetch) awaitOthers(ctx context.Context, o Object) error {
	defer status.Waiting(ctx, "assets: "+o.Path, "another process or goroutine that is fetching it")()
	if err := pause(ctx, jitter(50*time.Millisecond)); err != nil {
		return fmt.Errorf("asset %s: another process is fetching it: %w", o.Path, err)
	}
	return nil
}

func (f *fetch) begin(ctx context.Context, o Object) error {
	p, err := f.store.cache.openPart(o, !f.store.options.SyncLater)
	if errors.Is(err, errHave) {
		return nil
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.parts = append(f.parts, p)
	f.mu.Unlock()
	_, p.span = status.Step(ctx, o.Path)
	p.span.Attempt()
	if p.units() == 0 {
		return f.complete(p)
	}
	for from := 0; from < p.units(); from += runChunks {
		select {
		case f.jobs <- job{p, from, min(from+runChunks, p.units())}:
		case <-ctx.Done():
			f.cut = context.Cause(ctx) // not an error here: a worker knows better what it was waiting for
			return nil
		}
	}
	return nil
}

// complete moves an object into its place as soon as its last chunk is there.
func (f *fetch) complete(p *part) error {
	err := p.finish()
	p.span.Done(err)
	f.mu.Lock()
	f.parts = slices.DeleteFunc(f.parts, func(q *part) bool { return q == p })
	f.mu.Unlock()
	return err
}

// closeParts gives up what an error left unfinished.
func (f *fetch) closeParts() {
	for _, p := range f.parts {
		p.span.Done(errors.New("not completed"))
		p.close()
	}
}
