package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"rekindle/agent/discovery"
)

const (
	shownGone = 10 * time.Minute // that a dead or left peer is in Peers
	keptGone  = 24 * time.Hour   // that a missing peer is looked for, and that a run that ended stays refused
	maxGone   = 512              // of them, so that years of rebuilt nodes take no memory
	// stragglers: how long after a node left others may still tell that it lives, as they have not heard.
	stragglers = time.Minute
)

// errRefused makes memberlist ignore a node.
var errRefused = errors.New("refused")

// member is what is known of an instance.
type member struct {
	meta
	said    []byte         // meta as it came
	at      netip.AddrPort // of its gossip
	state   discovery.State
	since   time.Time
	through string
}

func (m *member) living() bool { return m.state == discovery.Alive || m.state == discovery.Suspect }

func (m *member) sameAddress(n *memberlist.Node) bool {
	addr, ok := netip.AddrFromSlice(n.Addr)
	return ok && m.at == netip.AddrPortFrom(addr.Unmap(), n.Port)
}

// run is one process of an instance.
type run struct {
	instance string
	id       uint32
}

// members is what memberlist's events add up to. It implements the delegates, which memberlist calls under its own lock:
// none of them may call memberlist.
type members struct {
	cluster, self string
	refused       func(reason string, from net.Addr)
	conflicted    func() // another address claims to be this instance

	mu      sync.Mutex
	all     map[string]*member
	ended   map[run]time.Time
	through map[netip.AddrPort]string // how the seeds that answered were found
	first   string                    // the first of them: the others of the cluster were learned through it
	changed chan struct{}
	events  map[string]uint64
}

func newMembers(cluster, self string, refused func(string, net.Addr)) *members {
	return &members{
		cluster: cluster, self: self, refused: refused, conflicted: func() {},
		all: map[string]*member{}, ended: map[run]time.Time{}, through: map[netip.AddrPort]string{},
		changed: make(chan struct{}, 1), events: map[string]uint64{},
	}
}

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
	if at, ended := m.ended[run{n.Name, said.run}]; ended {
		if time.Since(at) > stragglers {
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
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.all[n.Name]
	if is == nil {
		is = &member{}
		m.all[n.Name] = is
	}
	is.said = bytes.Clone(n.Meta)
	is.meta, is.at = said, netip.AddrPortFrom(addr.Unmap(), n.Port)
	if !is.living() && n.Name != m.self {
		is.through = m.through[is.at]
		if is.through == "" {
			is.through = m.first
		}
	}
	m.events[event]++
	m.become(is, discovery.Alive)
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
	if is.leaving {
		m.left(is)
		return
	}
	m.become(is, discovery.Dead)
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

// become notes a state, and that something changed. The caller holds mu.
func (m *members) become(is *member, state discovery.State) {
	if is.state != state {
		is.state, is.since = state, time.Now()
	}
	if !is.living() {
		m.forget()
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// left notes that the process of a member is gone for good. The caller holds mu.
func (m *members) left(is *member) {
	m.ended[run{is.peer.Instance, is.run}] = time.Now()
	m.become(is, discovery.Left)
}

// forget drops what is too old or too much, the oldest first. The caller holds mu.
func (m *members) forget() {
	var gone []*member
	for _, is := range m.all {
		if !is.living() {
			gone = append(gone, is)
		}
	}
	newestFirst(gone)
	for i, is := range gone {
		if i >= maxGone || time.Since(is.since) > keptGone {
			delete(m.all, is.peer.Instance)
		}
	}
	for r, at := range m.ended {
		if time.Since(at) > keptGone || len(m.ended) > 4*maxGone {
			delete(m.ended, r)
		}
	}
}

func newestFirst(all []*member) {
	slices.SortFunc(all, func(a, b *member) int { return b.since.Compare(a.since) })
}

// sightings are the living and those that are gone for less than shownGone, by instance.
func (m *members) sightings() []discovery.Sighting {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]discovery.Sighting, 0, len(m.all))
	for _, is := range m.all {
		if !is.living() && time.Since(is.since) > shownGone {
			continue
		}
		peer := is.peer
		peer.Addresses = slices.Clone(peer.Addresses)
		all = append(all, discovery.Sighting{
			Peer: peer, State: is.state, Since: is.since, Mode: "gossip", Through: is.through,
		})
	}
	slices.SortFunc(all, func(a, b discovery.Sighting) int { return strings.Compare(a.Instance, b.Instance) })
	return all
}

// answered notes that a seed answered, and how it was found.
func (m *members) answered(s Seed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	through := s.String()
	if len(m.through) < maxGone {
		m.through[s.At] = through
	}
	if m.first == "" {
		m.first = through
	}
	for _, is := range m.all {
		if is.peer.Instance != m.self && is.living() && (is.through == "" || is.at == s.At) {
			is.through = through
		}
	}
}

// count is how many members are in each state.
func (m *members) count() map[discovery.State]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := map[discovery.State]int{}
	for _, is := range m.all {
		if is.living() || time.Since(is.since) <= shownGone {
			n[is.state]++
		}
	}
	return n
}
