package etcd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"rekindle/agent/etcd/peers"
)

func endpointOf(m Member) peers.Endpoint {
	return peers.Endpoint{Name: m.Name, URL: m.ClientURL, Address: m.Address}
}

// check is what must hold at every moment.
func (w *world) check() {
	if w.failed || w.lenient {
		return
	}
	able := 0
	for _, c := range w.cells {
		if w.canAcknowledge(c, false) {
			able++
		}
	}
	if able > 1 {
		w.fail("%d clusters can acknowledge writes", able)
	}
	if c := w.truth(); c != nil && w.record != nil {
		for _, v := range c.voters() {
			if find(w.record.voters(), func(m Member) bool { return m.PeerURL == v.peerURL }) == nil {
				w.fail("the record does not list the voter %s", v.peerURL)
			}
		}
	}
}

// truth is the cluster of the record's generation that has served, or the one that was made last.
func (w *world) truth() *cell {
	var last *cell
	for _, c := range w.cells {
		if w.record != nil && c.token == w.record.Token {
			if c.acks > 0 {
				return c
			}
			last = c
		}
	}
	return last
}

// swapped is called when a record was written.
func (w *world) swapped(who string, data []byte) {
	record, err := ParseLineage(data)
	if err != nil {
		w.fail("%s writes a record that nobody can read: %v", who, err)
		return
	}
	old := w.record
	w.tell(who, "swaps: %s", brief(record))
	if old == nil {
		if w.created++; w.created > 1 || len(w.backups) > 0 || len(w.acked) > 0 {
			w.fail("a cluster is created where one has lived")
		}
	} else if record.UID != old.UID || record.Generation < old.Generation || record.Generation > old.Generation+1 {
		w.fail("the lineage %s follows %s", brief(record), brief(old))
	}
	if old != nil && record.Generation > old.Generation {
		w.supersede(old, record)
	}
	w.record, w.known = record, true
}

// supersede is called when a generation begins: the one before must be at an end.
func (w *world) supersede(old, record *Lineage) {
	c := w.truth()
	if record.State == Creating && (len(w.backups) > 0 || old.State != Creating) {
		w.fail("an empty cluster begins after one that has served")
	}
	if c == nil {
		return
	}
	if record.State == Creating { // it served, and ended with its only disk before the record could say so
		maps.Copy(w.forgiven, w.acked)
	}
	left := 0
	for _, v := range c.voters() {
		if n := w.keeps(old, c, v); n != nil {
			left++
			m := find(old.Members, func(m Member) bool { return m.PeerURL == v.peerURL })
			switch {
			case record.State == Restoring || record.State == Creating:
				w.fail("a restore begins while %s has the voter %s", n.name, v.peerURL)
			case record.State == Rescuing && old.State == Running && m.Position == nil:
				w.fail("a rescue begins before %s has said how far its log goes", n.name)
			}
		}
	}
	if left > len(c.voters())/2 {
		w.fail("generation %d begins although %d of %d voters are left", record.Generation, left, len(c.voters()))
	}
}

// keeps is the node that has a voter's data, by the record and in truth; nil when it is lost.
func (w *world) keeps(record *Lineage, c *cell, v *seat) *node {
	for _, n := range w.nodes {
		data := n.volume.data
		if data == nil || data.cell != c || data.id != v.id || data.torn || n.volume.lost || n.state == types.InstanceStateNameTerminated {
			continue
		}
		if n.etcd {
			return n
		}
		m := find(record.Members, func(m Member) bool { return m.PeerURL == v.peerURL })
		if m != nil && m.Lost == "" && m.Instance == n.name {
			return n
		}
	}
	return nil
}

// judge is called when the data of a new generation was made: what was acknowledged and is not in it must be lost by the
// rules, that is on no voter's disk, and in no good backup that could have been used.
func (w *world) judge(order Build, made *state) {
	holds := made.holds()
	var lost []int
	for write := range w.acked {
		if !holds.writes[write] && !w.forgiven[write] {
			lost = append(lost, write)
		}
	}
	w.tell("", "generation %d is made with revision %d; %d writes are lost", order.Marker.Generation, holds.revision, len(lost))
	if len(lost) == 0 {
		return
	}
	slices.Sort(lost)
	for _, b := range w.backups {
		if !b.bad && b.holds.writes[lost[0]] && b.Generation < order.Marker.Generation {
			w.fail("the acknowledged write %d is in backup %s and not in what was made", lost[0], b.ID)
		}
	}
	for _, n := range w.nodes {
		data := n.volume.data
		if data == nil || data == made || data.torn || n.volume.lost || n.state == types.InstanceStateNameTerminated || data.cell.members[data.id] == nil {
			continue
		}
		entry := find(append(slices.Clone(w.record.Members), w.record.Former...), func(m Member) bool { return m.Name == data.name && m.Instance == n.name })
		if entry != nil && entry.Lost == "" && !data.cell.members[data.id].learner && data.holds().writes[lost[0]] {
			w.fail("the acknowledged write %d is on the disk of %s and not in what was made", lost[0], n.name)
		}
	}
	for _, write := range lost {
		w.forgiven[write] = true
	}
	w.lossy++
}

// firstOfAll is called when etcd begins an empty cluster.
func (w *world) firstOfAll(token, name, url string) *state {
	if len(w.acked) > len(w.forgiven) || len(w.backups) > 0 {
		w.fail("%s begins an empty cluster after one that has served", name)
	}
	if w.record == nil || w.record.State != Creating || w.record.Token != token {
		w.fail("%s begins a cluster of token %s, and the record is %s", name, token, brief(w.record))
	}
	record := w.record
	if record == nil {
		record = &Lineage{Generation: 1}
	}
	return w.found(record.UID, token, record.Generation, name, url, contents{})
}

// healed tells whether there is one cluster of all masters, and what is missing.
func (w *world) healed() string {
	masters, c := w.masters(), w.truth()
	switch {
	case w.record == nil || w.record.State != Running || w.record.Change != nil:
		return "the record is " + brief(w.record)
	case len(masters) < w.want:
		return "masters are missing"
	case c == nil || w.leaderOf(c) == nil:
		return "there is no quorum"
	case len(c.members) != len(masters) || len(w.record.Members) != len(masters) || len(c.voters()) != len(masters):
		return fmt.Sprintf("%d masters, %d members, %d voters, %d in the record", len(masters), len(c.members), len(c.voters()), len(w.record.Members))
	}
	for _, n := range masters {
		m := w.record.on(n.name)
		switch {
		case m == nil || m.Learner || m.Lost != "" || m.Position != nil || m.Address != n.address:
			return n.name + " is not in the record as a voter"
		case !n.etcd || n.volume.data.cell != c || n.volume.data.name != m.Name || c.members[n.volume.data.id] == nil:
			return n.name + " does not run its member"
		case !strings.Contains(string(n.config), "initial-cluster-state: existing"):
			return n.name + " has a configuration that could begin a cluster"
		case strings.Count(n.hosts, "\n") != len(masters):
			return n.name + " does not know the names of all members"
		case n.note != "":
			return n.name + " has not taken back what it noted: " + n.note
		}
	}
	holds := w.leaderOf(c).volume.data.holds()
	for write := range w.acked {
		if !holds.writes[write] && !w.forgiven[write] {
			w.fail("the acknowledged write %d is not in the cluster", write)
		}
	}
	return ""
}

// blocked tells whether every master waits for the operator, and is right to.
func (w *world) blocked() bool {
	good := slices.ContainsFunc(w.backups, func(b *saved) bool { return !b.bad })
	waits := 0
	for _, n := range w.masters() {
		if n.etcd && w.canAcknowledge(n.volume.data.cell, false) {
			return false
		}
		if n.stopped != "" {
			waits++
		}
	}
	c := w.truth()
	if waits == 0 || good || c == nil {
		// While a restore is under way there is no cluster yet; that the one before was at an end was checked when it began.
		return waits > 0 && !good && w.record != nil && w.record.State == Restoring
	}
	for _, v := range c.voters() {
		if w.keeps(w.record, c, v) != nil {
			return false
		}
	}
	return true
}

// settles ends all faults and waits for one cluster of all masters, or for a stop that is right.
func (w *world) settles(limit time.Duration) (healed bool) {
	w.locked(func() {
		w.tell("", "no more faults")
		w.faults, w.outage = quiet, time.Time{}
		for _, n := range w.nodes {
			n.cutOff, n.alone = time.Time{}, time.Time{}
			n.start()
		}
	})
	blocked := 0
	ended := w.until(limit, func() bool {
		for _, n := range w.masters() {
			n.start() // one that was still stopping
		}
		if w.blocked() {
			blocked++
		} else {
			blocked = 0
		}
		healed = w.healed() == ""
		return healed || blocked > 60
	})
	w.locked(func() {
		if !ended {
			w.fail("after %s: %s", limit, w.healed())
		}
		if !healed {
			w.stats["stops that are right"]++
		}
	})
	return healed
}

// state is the whole world, for a failure.
func (w *world) state() string {
	var s strings.Builder
	fmt.Fprintf(&s, "record: %s\n", brief(w.record))
	for _, c := range w.cells {
		fmt.Fprintf(&s, "%s\n", c)
	}
	for _, n := range w.nodes {
		fmt.Fprintf(&s, "%s %s up %t etcd %t note %q last %q stopped %q", n.name, n.state, n.up, n.etcd, n.note, n.last, n.stopped)
		if n.volume.marker != nil {
			fmt.Fprintf(&s, " marker %+v", *n.volume.marker)
		}
		if d := n.volume.data; d != nil {
			fmt.Fprintf(&s, " data of %s (%d) in cluster %d at %+v", d.name, d.id, d.cell.number, d.position())
		}
		s.WriteString("\n")
	}
	return s.String()
}

func brief(r *Lineage) string {
	if r == nil {
		return "none"
	}
	text := fmt.Sprintf("g%d %s by %s/%.4s:", r.Generation, r.State, r.Holder.Instance, r.Holder.Nonce)
	for _, m := range r.Members {
		text += " " + m.Name
		if m.Instance != m.Name {
			text += "@" + m.Instance
		}
		if m.Learner {
			text += "(learner)"
		}
		if m.Lost != "" {
			text += "(lost)"
		}
		if m.Position != nil {
			text += fmt.Sprintf("(%d/%d)", m.Position.Term, m.Position.Index)
		}
	}
	if r.Change != nil {
		text += fmt.Sprintf("; %s %s by %s", r.Change.Kind, r.Change.Member, r.Change.Instance)
	}
	return text
}
