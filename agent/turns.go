package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// turnKey is the cluster's lease for restarts that other nodes would notice.
const turnKey = "locks/turn.json"

// How long a node must have been well before others may restart theirs, and how often it is asked.
const (
	settleTime  = 20 * time.Second // the kubelet notices a changed static pod and stops the old one within it
	healthPause = time.Second
)

// turns lets one node of the cluster restart at a time what the others depend on.
type turns struct {
	lock   *store.Lock
	health func(ctx context.Context) error // asks once
	settle time.Duration
	limit  time.Duration
}

func (a *Agent) turns(n *node) apply.Turns {
	return &turns{
		lock:   store.NewLock(n.records, turnKey, n.facts.Instance.ID, a.Logger),
		health: func(ctx context.Context) error { return a.healthy(ctx, n) },
		settle: settleTime, limit: n.config.Timeouts.Turn,
	}
}

// Take implements apply.Turns.
func (t *turns) Take(ctx context.Context, _ []string) (func(context.Context, error) error, error) {
	release, lost, err := t.lock.Acquire(ctx)
	if err != nil {
		return nil, err // apply says what the turn is for
	}
	return func(ctx context.Context, failed error) error {
		if failed == nil {
			failed = t.well(ctx, lost)
		} else {
			failed = nil // the apply's own error; the turn ends all the same
		}
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return errors.Join(failed, release(ending))
	}, nil
}

// well returns once the node has been healthy for a while.
func (t *turns) well(ctx context.Context, lost <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.limit, fmt.Errorf("not healthy %s after its turn: %w", t.limit, context.DeadlineExceeded))
	defer cancel()
	wait := status.WaitingOn(ctx, "turn: health", "this node to be well after a restart, before another has its turn")
	defer wait.Done()
	since := time.Now()
	for {
		err := t.health(ctx)
		if err != nil {
			wait.Update(err.Error())
			since = time.Now()
		} else if time.Since(since) >= t.settle {
			return nil
		}
		select {
		case <-time.After(healthPause):
		case <-lost:
			return errors.New("the turn was lost to another node before this one was well")
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
