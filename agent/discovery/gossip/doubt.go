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
	askedDead = 3               // times that a member is asked after it died
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

// died are members that died a moment ago, askedAt of them at most. A member that objects to its death may not be heard by all:
// the others know a newer word of it, and have no reason to repeat that.
func (m *members) died() (all []claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, is := range m.all {
		if is.living() {
			is.asks = 0
		}
		if is.asks > 0 && len(all) < askedAt {
			is.asks--
			all = append(all, is.claim)
		}
	}
	return all
}

// asked tells whether somebody who died is still to be asked.
func (m *members) asked() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, is := range m.all {
		if is.asks > 0 && !is.living() {
			return true
		}
	}
	return false
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

// asking asks members that are said to live again, and those that died a moment ago.
func (g *Gossip) asking(ctx context.Context) {
	var again <-chan time.Time
	for {
		var dead []claim
		select {
		case <-ctx.Done():
			return
		case <-g.members.doubts: // the dead have a while to object
		case <-again:
			dead = g.members.died()
		}
		doubtful := g.members.doubtful()
		g.ask(doubtful, g.members.proven)
		g.ask(dead, func(c claim) {
			for range 2 { // the first tells it of its death, the second hears it object
				if _, err := g.Join(ctx, []Seed{{At: c.at}}); err != nil {
					g.log.Debug("gossip: taken for dead, and answers", "instance", c.peer.Instance, "err", err)
				}
			}
		})
		if again = nil; len(doubtful) > 0 || g.members.asked() {
			again = time.After(askAgain)
		}
	}
}

// ask asks members whether they live, and tells of those that answer. It takes half a second, and as long again for every
// askedAt that do not.
func (g *Gossip) ask(all []claim, lives func(claim)) {
	slots := make(chan struct{}, askedAt)
	var asking sync.WaitGroup
	for _, c := range all {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			if err := g.ping(c); err != nil {
				g.log.Debug("gossip: does not answer", "instance", c.peer.Instance, "err", err)
				return
			}
			lives(c)
		})
	}
	asking.Wait()
}

func (g *Gossip) ping(c claim) error {
	g.life.RLock()
	defer g.life.RUnlock()
	if g.closed {
		return errClosed
	}
	_, err := g.list.Ping(c.peer.Instance, net.UDPAddrFromAddrPort(c.at))
	return err
}
