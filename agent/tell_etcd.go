package agent

import (
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// tellEtcd shows what was decided about a member, and on which facts.
func (a *Agent) tellEtcd(member plan.Etcd, facts etcd.Facts, action etcd.Action) {
	a.board.Etcd(member.Name, func(e *status.Etcd) {
		if e.Row != action.Row || e.Why != action.Why {
			e.Verdict, e.Row, e.Why, e.Decided = string(action.Verdict), action.Row, action.Why, time.Now()
		}
		e.Data, e.Member = string(facts.Found.State), ""
		if facts.Found.Marker != nil {
			e.Member = facts.Found.Marker.Member
		}
		switch {
		case facts.RecordUnknown != nil && e.Lineage != nil: // what was known last, and that it is old
			e.Lineage.Unknown = facts.RecordUnknown.Error()
		case facts.RecordUnknown != nil:
			e.Lineage = &status.EtcdLineage{Unknown: facts.RecordUnknown.Error()}
		case facts.Record == nil:
			e.Lineage = nil
		default:
			e.Lineage, e.Members = lineage(facts.Record), members(facts.Record, e.Members)
		}
	})
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
