package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// errStalled is why a transfer was given up.
var errStalled = errors.New("the transfer stood still")

// watch ends a context when nothing has moved for the limit.
type watch struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// watched is a context that ends, for the cause of errStalled, when nothing moves for limit.
func watched(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{limit: limit, cancel: cancel}
	w.timer = time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("%w: nothing moved for %s", errStalled, limit))
	})
	return ctx, w
}

// moved puts the end off.
func (w *watch) moved() { w.timer.Reset(w.limit) }

// rest stops looking until something moves again.
func (w *watch) rest() { w.timer.Stop() }

// stop ends the context.
func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// because puts the reason in the place of an error that only says that ctx has ended.
func because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (%w)", cause, err)
}

// exact is the body of an answer that must hold left bytes, each Read of which must end in time.
type exact struct {
	io.ReadCloser
	ctx   context.Context // of the request
	watch *watch
	left  int64 // bytes still to come
	where string
}

// Read implements io.Reader. Only the time inside of it counts: who reads may take as long as he likes.
func (e *exact) Read(p []byte) (int, error) {
	e.watch.moved()
	n, err := e.ReadCloser.Read(p)
	e.watch.rest()
	e.left -= int64(n)
	switch {
	case e.left < 0:
		err = fmt.Errorf("%d bytes more than asked for", -e.left)
	case errors.Is(err, io.EOF) && e.left > 0:
		err = fmt.Errorf("%w: %d bytes are missing", io.ErrUnexpectedEOF, e.left)
	case errors.Is(err, io.EOF):
		return n, io.EOF
	}
	if err != nil {
		return n, fmt.Errorf("%s: %w", e.where, because(e.ctx, err))
	}
	return n, nil
}

// Close ends the request.
func (e *exact) Close() error {
	e.watch.stop()
	return e.ReadCloser.Close()
}
