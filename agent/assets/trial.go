package assets

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"rekindle/agent/status"
)

// corruptTries is how often one source may deliver the same chunk corrupt before it is not asked for it again: once
// may be the network's fault, twice is the object's.
const corruptTries = 2

// trial is the history of one transfer: which sources failed it, how, and so which one is next.
type trial struct {
	store   *Store
	object  Object
	chunk   int
	sources []attempt
	rounds  int // without progress
}

// attempt is what a trial knows of one source.
type attempt struct {
	last    error
	refused bool // it does not have the object, or does not give it; asking again is no use
	corrupt int  // how often it delivered the current chunk corrupt
	skip    bool // failed in this round
}

// corruption is a chunk that is not what the manifest says.
type corruption struct {
	chunk             int
	digest, got, want string
}

func (c *corruption) Error() string {
	return fmt.Sprintf("chunk %d: %s is %s, the manifest says %s", c.chunk, c.digest, c.got, c.want)
}

// diskFailure is the node's fault, not a source's: no other source can help.
type diskFailure struct{ error }

func (d *diskFailure) Unwrap() error { return d.error }

func newTrial(s *Store, o Object) *trial {
	return &trial{store: s, object: o, sources: make([]attempt, len(s.sources))}
}

// next is the source to ask now: the first in the order of preference that has not failed in this round, those that
// are down last. When all have failed it waits and begins another round.
func (t *trial) next(ctx context.Context, chunk int) (int, error) {
	t.chunk = chunk
	for {
		down, candidates := -1, 0
		for i := range t.sources {
			a := &t.sources[i]
			if a.refused || a.corrupt >= corruptTries || !t.store.serves(i, t.object) {
				continue
			}
			candidates++
			switch {
			case a.skip:
			case t.store.health[i].usable():
				return i, nil
			case down < 0:
				down = i
			}
		}
		switch {
		case candidates == 0:
			return 0, t.verdict()
		case down >= 0:
			return down, nil
		}
		if err := t.newRound(ctx); err != nil {
			return 0, err
		}
	}
}

func (t *trial) newRound(ctx context.Context) error {
	defer status.Waiting(ctx, "assets: "+t.object.Path, "a source to answer: "+t.reasons().Error())()
	if err := pause(ctx, backoff(t.rounds)); err != nil {
		return t.gaveUp(err)
	}
	t.rounds++
	for i := range t.sources {
		t.sources[i].skip = false
	}
	return nil
}

// progressed forgets what concerned chunks that have arrived.
func (t *trial) progressed() {
	t.rounds = 0
	for i := range t.sources {
		t.sources[i].corrupt, t.sources[i].skip = 0, false
	}
}

func (t *trial) corrupted() bool {
	for _, a := range t.sources {
		if a.corrupt > 0 {
			return true
		}
	}
	return false
}

// failed records why source i did not deliver, and returns an error if no source can mend it.
func (t *trial) failed(i int, err error) error {
	a := &t.sources[i]
	a.last, a.skip = err, true
	if disk, ok := errors.AsType[*diskFailure](err); ok {
		return disk.error
	}
	logger := t.store.options.Logger.With("source", t.store.sources[i].String(), "path", t.object.Path)
	switch _, bad := errors.AsType[*corruption](err); {
	case bad:
		a.corrupt++
		logger.Warn("asset: corrupt chunk, trying another source", "error", err)
	case errors.Is(err, ErrChanged) && t.object.ETag != "":
		return status.Fail(status.ReasonAssetCorrupt, "publish into a new path instead of overwriting, then restart the agent",
			fmt.Errorf("%s: %w", t.store.sources[i], err))
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrDenied):
		a.refused = true
		logger.Warn("asset: not at this source", "error", err)
	default:
		t.store.health[i].failure(errors.Is(err, errStalled))
		logger.Info("asset: retrying", "error", err)
	}
	return nil
}

// verdict is the error when no source is left to ask.
func (t *trial) verdict() error {
	err := fmt.Errorf("chunk %d of %s: %w", t.chunk, t.store.locate(t.object), t.reasons())
	for _, a := range t.sources {
		if a.corrupt > 0 {
			return status.Fail(status.ReasonAssetCorrupt,
				"delete that object from the sources that hold it corrupt and run rekindle publish again", err)
		}
	}
	for _, a := range t.sources {
		if errors.Is(a.last, ErrDenied) {
			return status.Fail(status.ReasonStoreDenied, deniedHint, err)
		}
	}
	return status.Fail(status.ReasonAssetMissing, "run rekindle publish for this store again; it uploads what is missing", err)
}

const deniedHint = "allow s3:GetObject on the store's objects, s3:ListBucket on its bucket, and kms:Decrypt if it is encrypted with KMS"

func (t *trial) gaveUp(cause error) error {
	err := fmt.Errorf("chunk %d of %s: %w", t.chunk, t.store.locate(t.object), cause)
	if reasons := t.reasons(); len(reasons) > 0 {
		err = fmt.Errorf("%w; %w", err, reasons)
	}
	if errors.Is(cause, context.Canceled) {
		return err
	}
	return status.Fail(status.ReasonStoreUnreached, "check the route, endpoint and security groups from this subnet to the store", err)
}

// reasons is each source with what it last answered.
type reasons []error

func (r reasons) Error() string {
	var all []string
	for _, err := range r {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

func (r reasons) Unwrap() []error { return r }

func (t *trial) reasons() reasons {
	var all reasons
	for i, a := range t.sources {
		if a.last != nil {
			all = append(all, fmt.Errorf("%s: %w", t.store.sources[i], a.last))
		}
	}
	return all
}
