package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"rekindle/test/lab/node"
	"rekindle/test/lab/verify"
)

// follower is a minion: its kubelet asks who it is, and its names are looked at.
type follower struct {
	node         *node.Node
	cluster, own string
	masters      func() []string // addresses of those that run
	kubelet      *verify.Kubelet // of the goroutine that asks
	connected    int             // connections before the counting began
	first        string          // the master that answered before the counting began

	mu              sync.Mutex
	answers, failed int
	longest         time.Duration // from one answer to the next
	answered        time.Time
	last            string // the master that answered then
	refused         error  // that the last question had no answer

	looked         time.Time
	stale, lacking time.Time // when the names had last a master that does not run, and not yet one that does
	names          error     // what was wrong then
}

// aim connects until one of some masters answers: of several, the proxy takes whichever it likes.
func (m *follower) aim(ctx context.Context, at []*node.Node) error {
	for range aims {
		server, err := m.kubelet.Ask(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(at, func(n *node.Node) bool { return slices.Contains(server, n.ID) }) {
			m.answered, m.connected, m.first = time.Now(), m.kubelet.Connections(), m.among(server)
			return nil
		}
		m.kubelet.Disconnect()
	}
	return fmt.Errorf("%d connections, and none to %v", aims, ids(at))
}

// among is which of the masters a server is.
func (m *follower) among(server []string) string {
	for _, address := range m.masters() {
		if slices.Contains(server, address) {
			return address
		}
	}
	return "another"
}

func (m *follower) every(ctx context.Context, do func(context.Context)) {
	ticks := time.NewTicker(askEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			do(ctx)
		}
	}
}

func (m *follower) ask(ctx context.Context) {
	server, err := m.kubelet.Ask(ctx)
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused = err; err != nil {
		m.failed++
		return
	}
	now := time.Now()
	m.answers, m.last = m.answers+1, m.among(server)
	m.longest, m.answered = max(m.longest, now.Sub(m.answered)), now
}

func (m *follower) look(context.Context) {
	began := time.Now()
	places, err := verify.Places(m.node, m.cluster, m.own)
	masters := m.masters()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked, m.names = began, err
	if err != nil {
		m.lacking = began
	}
	for _, p := range places {
		if stale := without(p.Masters, masters); len(stale) > 0 {
			m.stale, m.names = began, errors.Join(m.names, fmt.Errorf("%s still has %v", p.Name, stale))
		}
		if lacking := without(masters, p.Masters); len(lacking) > 0 {
			m.lacking, m.names = began, errors.Join(m.names, fmt.Errorf("%s does not have %v", p.Name, lacking))
		}
	}
}

// wrong is what is not as it should be, or was not looked at since.
func (m *follower) wrong(since time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.names != nil:
		return m.names
	case m.answered.Before(since) && m.refused != nil:
		return fmt.Errorf("gets no answer: %w", m.refused)
	case m.answered.Before(since) || m.looked.Before(since):
		return errors.New("was not asked yet")
	}
	return nil
}

// without are those of a list that are not in another.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}
