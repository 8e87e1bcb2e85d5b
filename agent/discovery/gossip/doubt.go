package gossip

import (
	"context"
	"net"
	"sync"
	"time"
)

// memberlist forgets the dead within minutes, and with them what would tell old news of them from new. Then a packet that
// somebody repeats, or a node that slept for an hour and tells what it knew, brings a dead master back until probes fail
// again. So a member that died, and whose process this node knows, is believed to live again when it answers.
const (
	askAgain  = 2 * time.Second // a member that did not answer
	askedAt   = 16              // members that are asked at once
	vouchedAt = time.Minute     // after which the others' probes say enough: this node alone cannot reach it
)

// doubted is what is said of a member that died.
type doubted struct {
	claim
	since time.Time
}

// was tells whether a run is the last one of a member, or an earlier one. The caller holds mu.
func (m *members) was(is *member, id uint32) bool {
	_, ended := m.ended[run{is.peer.Instance, id}]
	return ended || is.run == id
}

// doubt keeps what is said of a member until it is proven. The caller holds mu.
func (m *members) doubt(is *member, news claim) {
	since := time.Now()
	if is.doubted != nil {
		since = is.doubted.since
	}
	is.doubted = &doubted{news, since}
	signal(m.doubts)
}

// doubtful are what is said of members that died, without what became certain by the time that passed.
func (m *members) doubtful() (all []claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, is := range m.all {
		switch {
		case is.doubted == nil:
		case time.Since(is.doubted.since) > vouchedAt:
			m.believe(is, is.doubted.claim)
		default:
			all = append(all, is.doubted.claim)
		}
	}
	return all
}

// proven believes what is said of a member, if that still is what was proven.
func (m *members) proven(c claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.all[c.peer.Instance]
	if is != nil && is.doubted != nil && is.doubted.run == c.run && is.doubted.at == c.at {
		m.believe(is, is.doubted.claim)
	}
}

// asking asks members that are said to live again.
func (g *Gossip) asking(ctx context.Context) {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.members.doubts:
		case <-again:
		}
		again = nil
		if doubtful := g.members.doubtful(); len(doubtful) > 0 {
			g.ask(doubtful)
			again = time.After(askAgain)
		}
	}
}

// ask asks members whether they live. It takes half a second, and as long again for every askedAt that do not.
func (g *Gossip) ask(all []claim) {
	slots := make(chan struct{}, askedAt)
	var asking sync.WaitGroup
	for _, c := range all {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			g.life.RLock()
			defer g.life.RUnlock()
			if g.closed {
				return
			}
			if _, err := g.list.Ping(c.peer.Instance, net.UDPAddrFromAddrPort(c.at)); err != nil {
				g.log.Debug("gossip: said to live again", "instance", c.peer.Instance, "err", err)
				return
			}
			g.members.proven(c)
		})
	}
	asking.Wait()
}
