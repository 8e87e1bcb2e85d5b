package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// smallTimeout is how long one attempt at a small object may take.
const smallTimeout = 10 * time.Second

// errTooLarge is a small object that is not small.
var errTooLarge = errors.New("too large")

// Get reads a small object that the manifest does not cover, as cluster.yaml, whole: at most limit bytes. It retries what
// may be temporary until ctx ends.
func Get(ctx context.Context, src Source, key string, limit int64) ([]byte, error) {
	return get(ctx, src, key, Range{}, limit)
}

func get(ctx context.Context, src Source, key string, r Range, limit int64) ([]byte, error) {
	return retry(ctx, func(ctx context.Context) ([]byte, error) {
		return getOnce(ctx, src, key, r, limit, smallTimeout)
	})
}

// retry repeats try until it succeeds, gives a definite answer, or ctx ends.
func retry[T any](ctx context.Context, try func(context.Context) (T, error)) (T, error) {
	for n := 0; ; n++ {
		result, err := try(ctx)
		if err == nil || definite(err) {
			return result, err
		}
		if cause := pause(ctx, backoff(n)); cause != nil {
			return result, fmt.Errorf("%w: %w", cause, err)
		}
	}
}

// definite reports whether asking the same source again would give the same answer.
func definite(err error) bool {
	_, malformed := errors.AsType[*badManifest](err)
	return malformed || errors.Is(err, ErrNotFound) || errors.Is(err, ErrDenied) || errors.Is(err, ErrChanged) ||
		errors.Is(err, errTooLarge)
}

// getOnce reads a small object with one attempt.
func getOnce(ctx context.Context, src Source, key string, r Range, limit int64, patience time.Duration) (_ []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%w: not read within %s", errStalled, patience))
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %s: %w", src, key, cause(ctx, err))
		}
	}()
	body, err := src.Get(ctx, key, r)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
	}
	return data, err
}

// cause is why ctx ended, if it did, rather than how a transport words it; else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
