package gossip

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"rekindle/agent/discovery"
)

// Update says something new of this node. The instance stays the same. The others hear of it within seconds, at most once
// a second.
func (g *Gossip) Update(p discovery.Peer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.Instance != g.self.peer.Instance {
		return fmt.Errorf("gossip: this is instance %s, not %s", g.self.peer.Instance, p.Instance)
	}
	before := g.encoded
	if err := g.say(meta{peer: p, run: g.self.run, leaving: g.self.leaving}); err != nil {
		return err
	}
	if !bytes.Equal(before, g.encoded) {
		signal(g.announce)
	}
	return nil
}

// say makes m what the next announcement says. The caller holds mu.
func (g *Gossip) say(m meta) error {
	data, err := m.encode(g.cluster)
	if err != nil {
		return fmt.Errorf("gossip: self: %w", err)
	}
	g.self, g.encoded = m, data
	return nil
}

// Leave tells the others that this node goes, so that they need not find out. Nothing brings it back: the caller ends Run
// next. The error says that nobody may have heard; they will find out.
func (g *Gossip) Leave(ctx context.Context) error {
	g.life.RLock()
	defer g.life.RUnlock()
	if g.closed {
		return errClosed
	}
	g.mu.Lock()
	m := g.self
	m.leaving = true
	err := g.say(m)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	g.saying.Lock() // an announcement in between would take this one's place in memberlist's queue
	defer g.saying.Unlock()
	if g.left {
		return nil
	}
	// First that it is going to leave: memberlist's own message looks like any other death to those who receive it.
	if err := g.list.UpdateNode(within(ctx)); err != nil {
		return fmt.Errorf("gossip: leave: %w", err)
	}
	select {
	case <-time.After(leavePause):
	case <-ctx.Done():
	}
	g.left = true
	if err := g.list.Leave(within(ctx)); err != nil {
		return fmt.Errorf("gossip: leave: %w", err)
	}
	return nil
}

// leavePause is how long the news that a node is going to leave may travel before the news of its end follows: whoever
// hears them in the other order sees it die.
const leavePause = time.Second

// within is the time that ctx leaves, 5 s at most.
func within(ctx context.Context) time.Duration {
	const longest = 5 * time.Second
	deadline, ok := ctx.Deadline()
	if !ok {
		return longest
	}
	return max(time.Millisecond, min(longest, time.Until(deadline)))
}

// announcing tells the others what say put down, and claims this instance while they have it at another address: they
// accept the new one once the old is dead.
func (g *Gossip) announcing(ctx context.Context) {
	const (
		pause    = time.Second
		claiming = time.Minute
	)
	var until time.Time
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.claim:
			until = time.Now().Add(claiming)
		case <-g.announce:
		case <-again:
		}
		if err := g.update(within(ctx)); err != nil {
			g.log.Debug("gossip: announcing", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		again = nil
		if time.Now().Before(until) {
			again = time.After(pause)
		}
	}
}

func (g *Gossip) update(timeout time.Duration) error {
	g.life.RLock()
	defer g.life.RUnlock()
	g.saying.Lock()
	defer g.saying.Unlock()
	if g.closed || g.left {
		return nil
	}
	return g.list.UpdateNode(timeout)
}

// delegate is what memberlist asks for.
type delegate struct{ *Gossip }

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.encoded
}

// NotifyMsg implements memberlist.Delegate: nobody sends any.
func (delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (delegate) MergeRemoteState([]byte, bool) {}
