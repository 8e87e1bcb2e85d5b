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
	return WaitingOn(ctx, name, forWhat).Done
}

// WaitingOn is Waiting for who asks again and again, and can tell what the last try came to: an operator then reads not
// only what is waited for but why it does not come. The caller calls Done when the wait is over.
//
//	wait := status.WaitingOn(ctx, "join: certificates", "a master that signs them")
//	defer wait.Done()
//	...
//	wait.Update(err.Error())
func WaitingOn(ctx context.Context, name, forWhat string) *Ongoing {
	switch w := ctx.Value(waitsKey{}).(type) {
	case beginsOn:
		return w.BeginOn(ctx, name, forWhat)
	case Waits:
		return &Ongoing{done: w.Begin(ctx, name, forWhat)}
	}
	return new(Ongoing)
}

// beginsOn is what Waits can do besides; Board does.
type beginsOn interface {
	BeginOn(ctx context.Context, name, forWhat string) *Ongoing
}

// Ongoing is a wait while it lasts. Its methods are safe for concurrent use; after Done they do nothing. The zero
// Ongoing is one that nobody hears of.
type Ongoing struct {
	update func(last string)
	done   WaitFunc
}

// Update tells what the last try came to, in place of what was told before.
func (o *Ongoing) Update(last string) {
	if o.update != nil {
		o.update(last)
	}
}

// Done ends the wait.
func (o *Ongoing) Done() {
	if o.done != nil {
		o.done()
	}
}
