package etcd

import (
	"fmt"
	"strings"

	"rekindle/agent/etcd/datadir"
)

// sight is what follows from facts. A question about a fact that nobody looked for leaves missing behind, and its answer
// is then worth nothing.
type sight struct {
	Facts
	missing Need
}

func (s *sight) is(state datadir.State) bool { return s.Found.State == state }
func (s *sight) marked() bool                { return s.Found.Marker != nil }
func (s *sight) older() bool                 { return s.Found.Marker.Generation < s.Record.Generation }

// holds tells whether this instance began what the record says is under way, and has not given it up.
func (s *sight) holds() bool {
	m := s.Record.on(s.Self)
	return s.Record.Holder.Instance == s.Self && m != nil && m.Lost == ""
}

// me is the member that the data is of, as the record has it, or nil.
func (s *sight) me() *Member { return s.Record.named(s.Found.Marker.Member) }

// here tells whether the record has the data's member on this instance.
func (s *sight) here() bool { return s.me() != nil && s.me().Instance == s.Self }

// current tells whether the data is whole, and of the record's generation.
func (s *sight) current() bool {
	return (s.is(datadir.Sound) || s.is(datadir.Busy)) && s.marked() && s.Found.Marker.UID == s.Record.UID && !s.older()
}

// fresh tells whether there is no data yet, of a generation that was begun here.
func (s *sight) fresh() bool {
	m := s.Found.Marker
	return s.is(datadir.Empty) && m != nil && m.Fresh && m.UID == s.Record.UID && m.Generation == s.Record.Generation
}

// adding tells whether this instance is being added as a member, and has had no data yet.
func (s *sight) adding() bool {
	m, c := s.Record.on(s.Self), s.Record.Change
	return m != nil && c != nil && c.Kind == Add && c.Instance == s.Self && c.Member == m.Name && m.Lost == "" && m.Position == nil
}

// rescues tells whether the data's member is one of those that may rescue the cluster.
func (s *sight) rescues() bool {
	return find(s.Record.rescuers(s.gone), func(m Member) bool { return m.Name == s.Found.Marker.Member }) != nil
}

// removed tells whether the data is of a member that is out, or was gone and is on its way out: a removal that was sent
// cannot be called back.
func (s *sight) removed() bool {
	m := s.me()
	return m == nil || s.Record.Change.removes(m.Name) && (m.Lost != "" || m.Instance != s.Self)
}

// forms tells whether the cluster can form a quorum again, as far as anybody knows.
func (s *sight) forms() bool { return !s.others() || s.reachable() || !s.lost() }

// others tells whether there are voters besides the data's member.
func (s *sight) others() bool {
	return find(s.Record.voters(), func(m Member) bool { return m.Name != s.Found.Marker.Member }) != nil
}

// survivor is whose place among those that may rescue the cluster this data is of, or nil: sound data of the generation that
// another instance rescues.
func (s *sight) survivor() *Member {
	if !s.is(datadir.Sound) || s.Record.State != Rescuing || s.holds() || s.Found.Marker.Generation != s.Record.FormerGeneration {
		return nil
	}
	return find(s.Record.Former, func(m Member) bool { return m.Name == s.Found.Marker.Member && m.Lost == "" })
}

// former tells whether this node may do it, too.
func (s *sight) former() bool {
	m := s.survivor()
	return m != nil && (m.Instance == s.Self || s.left(*m))
}

// rescuer tells whether this is the data with which a rescue began, on another instance, or seen again after it was said to be
// lost.
func (s *sight) rescuer() bool {
	if !s.is(datadir.Sound) || s.Record.State != Rescuing || s.Found.Marker.Generation != s.Record.FormerGeneration || s.me() == nil {
		return false
	}
	if s.here() {
		return s.me().Lost != "" || s.Reported
	}
	return s.left(*s.me())
}

// formerHere is this instance's place among those that may take a rescuer's place, or nil.
func (s *sight) formerHere() *Member {
	return find(s.Record.Former, func(m Member) bool { return m.Instance == s.Self && m.Lost == "" })
}

// gone tells whether a member's data can never take part again.
func (s *sight) gone(m Member) bool {
	if m.Lost != "" {
		return true
	}
	if m.Instance == s.Self { // this node knows by itself
		return s.is(datadir.Empty) || s.is(datadir.Torn)
	}
	return s.instanceGone(m.Instance)
}

func (s *sight) instanceGone(instance string) bool {
	if s.Instances == nil {
		s.missing = NeedInstances
		return false
	}
	return s.Instances.Gone[instance]
}

// left tells whether the instance that ran a member does so no longer.
func (s *sight) left(m Member) bool {
	if m.Lost != "" || s.instanceGone(m.Instance) {
		return true
	}
	return s.Instances != nil && s.Instances.Stopped[m.Instance]
}

func (s *sight) holderGone() bool {
	if s.Record.Holder.Instance == s.Self {
		return true // holds() said that what it held is not here
	}
	m := s.Record.on(s.Record.Holder.Instance)
	return m != nil && m.Lost != "" || s.instanceGone(s.Record.Holder.Instance)
}

func (s *sight) lost() bool { return s.Record.lostQuorum(s.gone) }

func (s *sight) anyLeft(members []Member) bool {
	for _, m := range members {
		if !s.gone(m) {
			return true
		}
	}
	return false
}

// best tells whether every one of the members that is left has said how far its log goes, and none goes farther. Of several
// that go as far, whoever is first swaps.
func (s *sight) best(members []Member) bool {
	own := find(members, func(m Member) bool { return m.Name == s.Found.Marker.Member })
	if own == nil || own.Position == nil || own.Lost != "" {
		return false
	}
	for _, m := range members {
		if m.Name == own.Name || s.gone(m) {
			continue
		}
		if m.Position == nil || own.Position.Less(*m.Position) {
			return false
		}
	}
	return true
}

// survivors names those that are left to rescue the cluster, and what is known of each.
func (s *sight) survivors() string {
	var all []string
	for _, m := range s.Record.rescuers(s.gone) {
		if s.gone(m) {
			continue
		}
		what := "has not said how far its log goes"
		if m.Position != nil {
			what = fmt.Sprintf("at term %d, index %d", m.Position.Term, m.Position.Index)
		}
		all = append(all, fmt.Sprintf("%s on %s %s", m.Name, m.Instance, what))
	}
	if s.Instances != nil && s.Instances.Unknown != nil {
		all = append(all, fmt.Sprintf("EC2 does not say what became of the instances (%v)", s.Instances.Unknown))
	}
	return strings.Join(all, ", ")
}

func (s *sight) mismatch() string {
	m, r := s.Found.Marker, s.Record
	text := fmt.Sprintf("own data is of lineage %s generation %d, member %s; the cluster's is %s generation %d", m.UID, m.Generation, m.Member, r.UID, r.Generation)
	if listed := r.named(m.Member); listed != nil && listed.Instance != s.Self {
		text += ", and " + m.Member + " is on " + listed.Instance
	}
	return text
}

func (s *sight) reachable() bool {
	if s.Quorum == nil {
		s.missing = NeedQuorum
		return false
	}
	return s.Quorum.Reachable
}

// unheard is what was heard instead of a quorum.
func (s *sight) unheard() string {
	if s.Quorum == nil || s.Quorum.Why == "" {
		return "nobody was asked"
	}
	return s.Quorum.Why
}

func (s *sight) trace() Trace {
	if s.Trace == nil {
		s.missing = NeedTrace
		return Trace{}
	}
	return *s.Trace
}

func (s *sight) backups() Backups {
	if s.Backups == nil {
		s.missing = NeedBackups
		return Backups{}
	}
	return *s.Backups
}
