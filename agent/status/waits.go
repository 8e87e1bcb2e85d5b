package status

import "context"

// WaitFunc ends a wait that Waits.Begin announced. Calling it again does nothing.
type WaitFunc func()

// Waits is told what the agent is waiting for. Board is the real one; a package that waits takes it through its
// context, so that a wait shows in `rekindle status` while it lasts.
type Waits interface {
	// Begin announces a wait: its name ("tags: role"), what would end it, and its deadline (the one of ctx).
	Begin(ctx context.Context, name, forWhat string) WaitFunc
}

type waitsKey struct{}

// WithWaits makes w hear of the waits that are announced under the returned context.
func WithWaits(ctx context.Context, w Waits) context.Context {
	return context.WithValue(ctx, waitsKey{}, w)
}

// Waiting announces a wait to whoever listens in ctx; the caller calls the returned function when it is over.
func Waiting(ctx context.Context, name, forWhat string) WaitFunc {
	if w, ok := ctx.Value(waitsKey{}).(Waits); ok {
		return w.Begin(ctx, name, forWhat)
	}
	return func() {}
}
