package gossip

import (
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

// member is what is known of an instance.
type member struct {
	claim
	state   discovery.State
	since   time.Time
	through string
	doubted *doubted // that it lives again
	asks    int      // how often it is still to be asked whether it did die
}

// claim is what was heard of an instance.
type claim struct {
	meta
	said []byte         // meta as it came
	at   netip.AddrPort // of its gossip
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

// ending is how and when a run ended: in order, or because another one took its place.
type ending struct {
	at   time.Time
	left bool
}

// members is what memberlist's events add up to. It implements the delegates, which memberlist calls under its own lock:
// none of them may call memberlist.
type members struct {
	cluster, self string
	refused       func(reason string, from net.Addr)
	conflicted    func() // another address claims to be this instance

	mu      sync.Mutex
	all     map[string]*member
	ended   map[run]ending
	doubts  chan struct{}             // somebody is said to live again
	through map[netip.AddrPort]string // how the seeds that answered were found
	first   string                    // the first of them: the others of the cluster were learned through it
	changed chan struct{}
	events  map[string]uint64
}

func newMembers(cluster, self string, refused func(string, net.Addr)) *members {
	return &members{
		cluster: cluster, self: self, refused: refused, conflicted: func() {},
		all: map[string]*member{}, ended: map[run]ending{}, doubts: make(chan struct{}, 1), through: map[netip.AddrPort]string{},
		changed: make(chan struct{}, 1), events: map[string]uint64{},
	}
}

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

// believe takes over what was heard of a member, and that it lives. The caller holds mu.
func (m *members) believe(is *member, news claim) {
	if is.peer.Instance != "" && is.run != news.run {
		m.ended[run{is.peer.Instance, is.run}] = ending{at: time.Now()}
	}
	delete(m.ended, run{news.peer.Instance, news.run})
	is.claim, is.doubted = news, nil
	if !is.living() && is.peer.Instance != m.self {
		is.through = m.through[is.at]
		if is.through == "" {
			is.through = m.first
		}
	}
	m.become(is, discovery.Alive)
}

// left notes that the process of a member is gone for good. The caller holds mu.
func (m *members) left(is *member) {
	m.ended[run{is.peer.Instance, is.run}] = ending{time.Now(), true}
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
	for r, end := range m.ended {
		if time.Since(end.at) > keptGone || len(m.ended) > 8*maxGone {
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

// alive is how many of the other members count.
func (m *members) alive() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, is := range m.all {
		if is.living() && is.peer.Instance != m.self {
			n++
		}
	}
	return n
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
