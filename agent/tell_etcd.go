package agent

import (
	"path"
	"path/filepath"
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// tellEtcd shows what was decided about a member, and on which facts.
func (a *Agent) tellEtcd(member plan.Etcd, facts etcd.Facts, action etcd.Action) {
	aside, known := a.asides(member)
	a.board.Etcd(member.Name, func(e *status.Etcd) {
		if e.Row != action.Row || e.Verdict != string(action.Verdict) {
			e.Decided = time.Now()
		}
		e.Verdict, e.Row, e.Why, e.Hint = string(action.Verdict), action.Row, action.Why, action.Hint
		e.Data, e.Member = string(facts.Found.State), ownMember(facts)
		if known {
			e.Aside = aside
		}
		switch {
		case facts.RecordUnknown != nil && e.Lineage != nil: // what was known last, and that it is old
			e.Lineage.Unknown = facts.RecordUnknown.Error()
		case facts.RecordUnknown != nil:
			e.Lineage = &status.EtcdLineage{Unknown: facts.RecordUnknown.Error()}
		case facts.Record == nil:
			e.Lineage = nil
			if facts.Found.State != datadir.Busy { // while etcd runs its members are those that were listed last
				e.Members = []status.EtcdMember{}
			}
		default:
			e.Lineage, e.Members = lineage(facts.Record), members(facts.Record, e.Members)
		}
	})
}

// ownMember is the name of this node's member: of the data that is here, or that the record lists here.
func ownMember(facts etcd.Facts) string {
	if facts.Found.Marker != nil {
		return facts.Found.Marker.Member
	}
	if facts.Record == nil {
		return ""
	}
	for _, m := range facts.Record.Members {
		if m.Instance == facts.Self {
			return m.Name
		}
	}
	return ""
}

// asides are what was set aside of a member's data here; false: that cannot be told.
func (a *Agent) asides(member plan.Etcd) ([]status.EtcdAside, bool) {
	dir, err := a.host.Path(member.DataDir)
	if err != nil {
		return nil, false
	}
	found, err := datadir.Asides(dir)
	if err != nil {
		a.Logger.Debug("data that was set aside", "etcd", member.Name, "error", err)
		return nil, false
	}
	all := make([]status.EtcdAside, 0, len(found))
	for _, f := range found {
		all = append(all, status.EtcdAside{Path: path.Join(member.DataDir, filepath.Base(f.Path)), Since: f.Since, Bytes: f.Bytes, Why: f.Why})
	}
	return all, true
}

func lineage(r *etcd.Lineage) *status.EtcdLineage {
	l := &status.EtcdLineage{UID: r.UID, Generation: r.Generation, State: r.State, Holder: r.Holder.Instance}
	if c := r.Change; c != nil {
		l.Change = c.Kind + " " + c.Member + " by " + c.Instance
	}
	return l
}

// members are those of the record, with what was known of their health.
func members(r *etcd.Lineage, known []status.EtcdMember) []status.EtcdMember {
	all := make([]status.EtcdMember, 0, len(r.Members))
	for _, m := range r.Members {
		entry := status.EtcdMember{}
		for _, k := range known {
			if k.Name == m.Name {
				entry = k
			}
		}
		entry.Name, entry.Instance, entry.Address, entry.Learner, entry.Lost = m.Name, m.Instance, m.Address, m.Learner, m.Lost
		all = append(all, entry)
	}
	return all
}

// tellBuilt shows that a generation's data was made here.
func (a *Agent) tellBuilt(member plan.Etcd, order etcd.Build, built etcd.Built, took time.Duration) {
	a.board.Etcd(member.Name, func(e *status.Etcd) {
		e.Built = &status.EtcdBuilt{
			At: time.Now(), Generation: order.Marker.Generation, Backup: built.Backup, Revision: built.Revision,
			Seconds: took.Seconds(), Warnings: built.Warnings,
		}
	})
}
