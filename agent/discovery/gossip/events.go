package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"rekindle/agent/discovery"
)

// errRefused makes memberlist ignore a node.
var errRefused = errors.New("refused")

// NotifyAlive implements memberlist.AliveDelegate: it is asked before anything about a node is believed.
func (m *members) NotifyAlive(n *memberlist.Node) error {
	if n.Name == m.self {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	is, known := m.all[n.Name]
	if known && is.state == discovery.Alive && bytes.Equal(is.said, n.Meta) && is.sameAddress(n) {
		return nil // as nearly always: each piece of news comes a dozen times
	}
	said, from, err := m.read(n)
	if err != nil {
		return err
	}
	// A process that left never comes back. What tells of it a while later is no straggler: somebody repeats it.
	if end := m.ended[run{n.Name, said.run}]; end.left {
		if time.Since(end.at) > stragglers {
			m.refused(refusedReplayed, from)
		}
		return errRefused
	}
	if said.leaving && (!known || !is.living()) {
		if known && is.run == said.run {
			m.left(is) // the news of its end came first
		}
		return errRefused
	}
	if known && is.state == discovery.Suspect && is.run == said.run {
		m.become(is, discovery.Alive) // memberlist tells of no refutation
	}
	return nil
}

// read is what a node says of itself; what makes no sense is counted.
func (m *members) read(n *memberlist.Node) (meta, net.Addr, error) {
	addr, ok := netip.AddrFromSlice(n.Addr)
	from := net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, n.Port))
	said, err := decode(m.cluster, n.Name, n.Meta)
	if err == nil && !ok {
		err = fmt.Errorf("an address of %d bytes", len(n.Addr))
	}
	if err == nil {
		err = checkAddress(addr)
	}
	if err == nil && !slices.Contains(said.peer.Addresses, addr.Unmap()) {
		// It is probed at one address, and names are made of others.
		err = fmt.Errorf("%s gossips at %s, which is none of its addresses", n.Name, addr)
	}
	if err == nil {
		return said, from, nil
	}
	reason := refusedMalformed
	if errors.Is(err, errCluster) {
		reason = refusedCluster
	}
	m.refused(reason, from)
	return said, from, err
}

// NotifyJoin implements memberlist.EventDelegate.
func (m *members) NotifyJoin(n *memberlist.Node) { m.heard(n, "join") }

// NotifyUpdate implements memberlist.EventDelegate.
func (m *members) NotifyUpdate(n *memberlist.Node) { m.heard(n, "update") }

func (m *members) heard(n *memberlist.Node, event string) {
	said, err := decode(m.cluster, n.Name, n.Meta)
	if err != nil {
		return // NotifyAlive refused it before
	}
	addr, _ := netip.AddrFromSlice(n.Addr)
	news := claim{said, n.Meta, netip.AddrPortFrom(addr.Unmap(), n.Port)} // memberlist never writes to Meta
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events[event]++
	is := m.all[n.Name]
	switch {
	case is == nil:
		is = &member{}
		m.all[n.Name] = is
	case !is.living() && m.was(is, said.run):
		m.doubt(is, news)
		return
	}
	m.believe(is, news)
}

// NotifyLeave implements memberlist.EventDelegate. memberlist does not tell whether a node died or left; the metadata of
// one that left said before that it would.
func (m *members) NotifyLeave(n *memberlist.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.all[n.Name]
	if is == nil {
		return
	}
	m.events["leave"]++
	is.doubted = nil
	if !is.living() {
		return // its return was never believed
	}
	if is.leaving {
		m.left(is)
		return
	}
	m.become(is, discovery.Dead)
	is.asks = askedDead
	signal(m.doubts)
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (m *members) NotifyConflict(existing, _ *memberlist.Node) {
	m.mu.Lock()
	m.events["conflict"]++
	m.mu.Unlock()
	if existing.Name == m.self {
		m.conflicted()
	}
}

// suspect is called when a probe of ours got no answer.
func (m *members) suspect(instance string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is := m.all[instance]; is != nil && is.state == discovery.Alive {
		m.become(is, discovery.Suspect)
	}
}

// NotifyPingComplete implements memberlist.PingDelegate.
func (m *members) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is := m.all[n.Name]; is != nil && is.state == discovery.Suspect {
		m.become(is, discovery.Alive)
	}
}

// AckPayload implements memberlist.PingDelegate.
func (m *members) AckPayload() []byte { return nil }
