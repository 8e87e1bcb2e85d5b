package etcd

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"rekindle/agent/etcd/datadir"
)

// cell is one etcd cluster, as Raft makes it: what a majority of its voters has is committed, who leads has all of that.
// Messages are not simulated, only what they can come to.
type cell struct {
	number     int
	token      string
	generation int
	uid        string
	base       contents // what it began with
	members    map[uint64]*seat
	removed    map[uint64]bool
	term       uint64
	leader     uint64 // 0: none
	committed  int    // entries
	acks       int
	beats      int // a write comes with every fourth
}

// seat is one in the committed list of members.
type seat struct {
	id      uint64
	name    string // "" until the member has said it
	peerURL string
	learner bool
	had     bool // it has acknowledged entries: it must not come back without them
}

// entry is one of the log; write is 0 for an election.
type entry struct {
	term  uint64
	write int
}

// contents are what a database holds: numbered writes.
type contents struct {
	revision int64
	writes   map[int]bool
}

func (c contents) clone() contents { return contents{c.revision, maps.Clone(c.writes)} }

// state is one member's data directory.
type state struct {
	cell *cell
	id   uint64
	name string
	log  []entry
	torn bool
	gone bool // it has learned that it was removed: it never starts again
}

func (s *state) last() uint64 {
	if len(s.log) == 0 {
		return 0
	}
	return s.log[len(s.log)-1].term
}

func (s *state) position() datadir.Position {
	return datadir.Position{Term: s.last(), Index: uint64(len(s.log))}
}

// holds is everything in it, to the end of its log.
func (s *state) holds() contents { return s.upTo(len(s.log)) }

func (s *state) upTo(index int) contents {
	c := s.cell.base.clone()
	if c.writes == nil {
		c.writes = map[int]bool{}
	}
	for _, e := range s.log[:min(index, len(s.log))] {
		if e.write > 0 {
			c.writes[e.write] = true
			c.revision++
		}
	}
	return c
}

// found is a new cluster of one member, with its data.
func (w *world) found(uid, token string, generation int, name, peerURL string, base contents) *state {
	w.ids++
	c := &cell{number: len(w.cells) + 1, uid: uid, token: token, generation: generation, base: base, removed: map[uint64]bool{},
		members: map[uint64]*seat{w.ids: {id: w.ids, name: name, peerURL: peerURL}}}
	w.cells = append(w.cells, c)
	return &state{cell: c, id: w.ids, name: name}
}

func (c *cell) voters() []*seat {
	var all []*seat
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		if !c.members[id].learner {
			all = append(all, c.members[id])
		}
	}
	return all
}

func (c *cell) seat(peerURL string) *seat {
	for _, m := range c.members {
		if m.peerURL == peerURL {
			return m
		}
	}
	return nil
}

// running are the nodes on which members of the cluster run and hear each other.
func (w *world) running(c *cell, talking bool) []*node {
	var all []*node
	for _, n := range w.nodes {
		if n.etcd && n.volume.data.cell == c && c.members[n.volume.data.id] != nil && (!talking || !n.apart()) {
			all = append(all, n)
		}
	}
	return all
}

// canAcknowledge tells whether a majority of the true voters runs. With talking, also whether they hear each other.
func (w *world) canAcknowledge(c *cell, talking bool) bool {
	up, all := 0, 0
	for _, m := range c.members {
		if !m.learner {
			all++
		}
	}
	for _, n := range w.nodes {
		if n.etcd && n.volume.data.cell == c && !(talking && n.apart()) {
			if m := c.members[n.volume.data.id]; m != nil && !m.learner {
				up++
			}
		}
	}
	return up > all/2
}

// leader is the node whose member leads; nil while there is none.
func (w *world) leaderOf(c *cell) *node {
	if !w.canAcknowledge(c, true) {
		return nil
	}
	for _, n := range w.running(c, true) {
		if n.volume.data.id == c.leader && !c.members[c.leader].learner {
			return n
		}
	}
	return nil
}

// raft lets time pass for all clusters.
func (w *world) raft() {
	for w.pass(500*time.Millisecond + 137) {
		w.mu.Lock()
		for _, c := range w.cells {
			w.beat(c)
		}
		w.mu.Unlock()
	}
}

// beat elects, replicates, and acknowledges writes.
func (w *world) beat(c *cell) {
	running := w.running(c, true)
	if len(running) == 0 {
		c.leader = 0
		w.learn(c)
		return
	}
	leader := w.leaderOf(c)
	if leader == nil {
		c.leader = 0
		w.elect(c, running)
		w.learn(c)
		return
	}
	index := len(leader.volume.data.log) + 1
	if c.beats++; c.beats%4 == 0 {
		w.written++
		leader.volume.data.log = append(slices.Clip(leader.volume.data.log), entry{c.term, w.written})
	}
	w.replicate(c, leader, running)
	if c.beats%4 == 0 && c.committed >= index {
		w.acked[w.written] = true
		c.acks++
	}
	w.learn(c)
}

// elect makes a leader of one that a majority takes for as far as itself.
func (w *world) elect(c *cell, running []*node) {
	if !w.canAcknowledge(c, true) || w.chance(0.3) {
		return
	}
	for _, i := range w.rng.Perm(len(running)) {
		data := running[i].volume.data
		votes := 0
		for _, n := range running {
			if !c.members[n.volume.data.id].learner && !data.position().Less(n.volume.data.position()) {
				votes++
			}
		}
		if c.members[data.id].learner || votes <= len(c.voters())/2 {
			continue
		}
		c.term = max(c.term, data.last()) + 1
		c.leader = data.id
		data.log = append(slices.Clip(data.log), entry{term: c.term})
		w.replicate(c, running[i], running)
		w.tell(running[i].name, "etcd: leads cluster %d in term %d", c.number, c.term)
		return
	}
}

// replicate gives the leader's log to some of those that run, and counts what a majority has.
func (w *world) replicate(c *cell, leader *node, running []*node) {
	data := leader.volume.data
	has := 0
	for _, n := range running {
		if n == leader || w.chance(0.8) {
			n.volume.data.log = data.log
			m := c.members[n.volume.data.id]
			m.had = true
			m.name = n.volume.data.name // it hears that it is a member, and says its name
			if !m.learner {
				has++
			}
		}
	}
	if has > len(c.voters())/2 {
		c.committed = len(data.log)
	}
}

// learn lets members that were removed hear of it, sooner or later.
func (w *world) learn(c *cell) {
	for _, n := range w.nodes {
		if n.etcd && n.volume.data.cell == c && c.removed[n.volume.data.id] && w.canAcknowledge(c, true) && w.chance(0.3) {
			n.volume.data.gone = true
			n.stopEtcd("it was removed")
		}
	}
}

// active tells whether the voters that run are as many, besides one.
func (w *world) active(c *cell, besides uint64) int {
	up := 0
	for _, n := range w.running(c, true) {
		if id := n.volume.data.id; id != besides && !c.members[id].learner && time.Since(n.etcdSince) > 5*time.Second {
			up++
		}
	}
	return up
}

func (c *cell) String() string {
	var all []string
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		m := c.members[id]
		text := fmt.Sprintf("%d=%s", id, m.peerURL)
		if m.learner {
			text += " (learner)"
		}
		all = append(all, text)
	}
	return fmt.Sprintf("cluster %d token %s leader %d committed %d: %v", c.number, c.token, c.leader, c.committed, all)
}
