package delta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errFull ends a watch while there is no room. To leave it open and unread would be worse: the client would hold what comes
// without bound (clientv3, watcherStream.buf), or else etcd would, up to 128 answers of a thousand revisions each.
var errFull = errors.New("no room for more events")

// watch fills the buffer until ctx ends or revisions are lost.
func (r *run) watch(ctx context.Context) error {
	for {
		err := r.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrGap):
			return err
		case errors.Is(err, errFull):
			r.Log.Warn("deltas: etcd is written to faster than the store takes it", "revision", r.buffer.end(), "bytes", r.buffer.held())
			err = r.buffer.room(ctx)
		default:
			// The next watch begins where this one ended. If etcd never comes back, the age of the deltas says so.
			r.Log.Warn("deltas: the watch ended, beginning another", "revision", r.buffer.end(), "error", err)
			err = pause(ctx, time.Second)
		}
		if err != nil {
			return err
		}
	}
}

// follow watches until something ends that watch. A lost connection does not: the client resumes after the last event that
// it delivered, and drops the fragments of an answer that was cut. No leader is required: a watch without one is silent,
// and silence proves nothing, see Run.
func (r *run) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher := clientv3.NewWatcher(r.Client) // its own stream: closing it frees what both sides hold
	defer func() { _ = watcher.Close() }()   // nothing was promised
	// Fragments keep one answer within gRPC's limits; the client puts them together before it delivers any.
	answers := watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(r.buffer.end()+1), clientv3.WithFragment())
	for answer := range answers {
		if err := r.take(answer); err != nil {
			return err
		}
		if r.buffer.held() >= r.Options.MaxBytes {
			return errFull
		}
	}
	return errors.New("it was closed")
}

func (r *run) take(answer clientv3.WatchResponse) error {
	if err := answer.Err(); errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("revision %d was compacted before it was seen (compacted: %d): %w",
			r.buffer.end()+1, answer.CompactRevision, ErrGap)
	} else if err != nil {
		return err
	}
	if err := r.same(answer.Header.ClusterId); err != nil {
		return err
	}
	return r.buffer.add(answer.Events)
}
