package status

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What the board knows of etcd. Members are those of one cluster at one time, rows and states those of agent/etcd. What
// follows leads is told by the node whose member leads alone, but for what it does not know yet.
var (
	etcdGenerationMetric = etcdMetric("generation", "Generation of the lineage; it grows with every take-over, restore and rescue.")
	etcdStateMetric      = etcdMetric("lineage_state", "1 for the state that the lineage is in, 0 for the others.", "state")
	etcdUnreadMetric     = etcdMetric("lineage_unknown", "1 while nobody can tell what the lineage says, 0 otherwise.")
	etcdDecisionMetric   = etcdMetric("decision", "By which row of the decision table the member runs or waits; always 1.", "row")
	etcdWaitingMetric    = etcdMetric("waiting", "1 while the member may not start until something changes, 0 otherwise.")
	etcdMembersMetric    = etcdMetric("members", "How many members the lineage lists.", "role")
	etcdLostMetric       = etcdMetric("member_lost", "1 for a member whose data is lost for good, 0 otherwise.", "member")
	etcdAsideMetric      = etcdMetric("aside_bytes", "Data of this node that was set aside.")
	etcdLeadsMetric      = etcdMetric("leads", "1 on the node whose member leads, 0 on the others.")

	etcdHealthMetric   = etcdMetric("member_healthy", "1 for a member that said it is well, 0 otherwise.", "member")
	etcdSizeMetric     = etcdMetric("db_bytes", "Size of the member's database, which the quota counts.", "member")
	etcdInUseMetric    = etcdMetric("db_in_use_bytes", "How much of it a defragmentation would leave.", "member")
	etcdQuotaMetric    = etcdMetric("quota_bytes", "Size of the database at which the member takes no more writes.", "member")
	etcdAlarmsMetric   = etcdMetric("alarms", "How many alarms of this kind are raised.", "alarm")
	etcdEqualMetric    = etcdMetric("data_equal", "1 if all members hold the same data, 0 if they differ.")
	etcdComparedMetric = etcdMetric("data_compared_timestamp_seconds", "When the members' data was last compared.")

	etcdIntervalMetric = etcdMetric("backup_interval_seconds", "The time between two full backups.")
	etcdFailedMetric   = etcdMetric("backup_failed", "1 if the last attempt at a full backup failed, 0 otherwise.")
	etcdBackupsMetric  = etcdMetric("backups", "How many complete backups are in the store.")
	etcdTakenMetric    = etcdMetric("backup_timestamp_seconds", "Of when the newest backup is.")
	etcdRevisionMetric = etcdMetric("backup_revision", "The revision of the newest backup.")
	etcdBackedMetric   = etcdMetric("backup_size_bytes", "Size of the database in the newest backup.")
	etcdStoredMetric   = etcdMetric("backup_stored_bytes", "Size of the newest backup in the store.")

	etcdDeltaFailedMetric = etcdMetric("delta_failed", "1 if the last delta could not be stored, 0 otherwise.")
	etcdProvedMetric      = etcdMetric("delta_proved_timestamp_seconds", "Everything that was written before is in the store.")
	etcdReachesMetric     = etcdMetric("delta_revision", "The revision up to which everything is in the store.")
	etcdHeldMetric        = etcdMetric("delta_held_bytes", "What is not in the store yet.")

	etcdDrillMetric       = etcdMetric("drill_timestamp_seconds", "When a restore was last tried.")
	etcdDrillFailedMetric = etcdMetric("drill_failed", "1 if that failed, 0 otherwise.")
	etcdDrillTimeMetric   = etcdMetric("drill_seconds", "How long that took.")
)

func etcdMetric(name, help string, labels ...string) *prometheus.Desc {
	return metric("etcd_"+name, help, append([]string{"etcd"}, labels...)...)
}

func (m *Metrics) etcd(out sample, s *Status) {
	for i := range s.Etcd {
		e := &s.Etcd[i]
		e.collect(out, s.Waits)
		out.gauge(etcdLeadsMetric, truth(e.Leads), e.Cluster)
		if !e.Leads {
			continue
		}
		e.collectMembers(out)
		e.collectStored(out)
	}
}

// collect sends what every node knows.
func (e *Etcd) collect(out sample, waits []Pending) {
	if l := e.Lineage; l != nil {
		out.gauge(etcdUnreadMetric, truth(l.Unknown != ""), e.Cluster)
		if l.UID != "" {
			out.gauge(etcdGenerationMetric, float64(l.Generation), e.Cluster)
			for _, state := range []string{"creating", "restoring", "rescuing", "running"} {
				out.gauge(etcdStateMetric, truth(l.State == state), e.Cluster, state)
			}
		}
	}
	if e.Row != "" {
		out.gauge(etcdDecisionMetric, 1, e.Cluster, e.Row)
		out.gauge(etcdWaitingMetric, truth(e.Waits() || e.pauses(waits)), e.Cluster)
	}
	voters := 0
	for i := range e.Members {
		if e.Members[i].role() == roleVoter {
			voters++
		}
		out.gauge(etcdLostMetric, truth(e.Members[i].Lost != ""), e.Cluster, e.Members[i].Name)
	}
	out.gauge(etcdMembersMetric, float64(voters), e.Cluster, roleVoter)
	out.gauge(etcdMembersMetric, float64(len(e.Members)-voters), e.Cluster, roleLearner)
	var aside int64
	for _, a := range e.Aside {
		aside += a.Bytes
	}
	out.gauge(etcdAsideMetric, float64(aside), e.Cluster)
}

// pauses tells whether a step that was decided on cannot be done yet: agent/etcd's keeper waits under the cluster's name.
func (e *Etcd) pauses(waits []Pending) bool {
	for _, wait := range waits {
		if wait.Name == "etcd "+e.Cluster {
			return true
		}
	}
	return false
}

func (e *Etcd) collectMembers(out sample) {
	for i := range e.Members {
		m := &e.Members[i]
		if m.Health == "" {
			continue
		}
		out.gauge(etcdHealthMetric, truth(m.ok()), e.Cluster, m.Name)
		if m.DBSize > 0 {
			out.gauge(etcdSizeMetric, float64(m.DBSize), e.Cluster, m.Name)
			out.gauge(etcdInUseMetric, float64(m.InUse), e.Cluster, m.Name)
		}
		if m.Quota > 0 {
			out.gauge(etcdQuotaMetric, float64(m.Quota), e.Cluster, m.Name)
		}
	}
	alarms := map[string]int{"NOSPACE": 0, "CORRUPT": 0}
	for _, alarm := range e.Alarms {
		kind, _, _ := strings.Cut(alarm, " ")
		if _, known := alarms[kind]; !known {
			kind = "other"
		}
		alarms[kind]++
	}
	for kind, n := range alarms {
		out.gauge(etcdAlarmsMetric, float64(n), e.Cluster, kind)
	}
	if e.Equal == etcdEqual || e.Differs() {
		out.gauge(etcdEqualMetric, truth(e.Equal == etcdEqual), e.Cluster)
	}
	out.time(etcdComparedMetric, e.Compared, e.Cluster)
}

func (e *Etcd) collectStored(out sample) {
	if b := e.Backup; b != nil {
		out.gauge(etcdFailedMetric, truth(b.Failed != ""), e.Cluster)
		out.gauge(etcdBackupsMetric, float64(b.Count), e.Cluster)
		if b.Interval > 0 {
			out.gauge(etcdIntervalMetric, b.Interval, e.Cluster)
		}
		if b.ID != "" {
			out.time(etcdTakenMetric, b.Taken, e.Cluster)
			out.gauge(etcdRevisionMetric, float64(b.Revision), e.Cluster)
			out.gauge(etcdBackedMetric, float64(b.Size), e.Cluster)
			out.gauge(etcdStoredMetric, float64(b.Stored), e.Cluster)
		}
	}
	if d := e.Delta; d != nil {
		out.gauge(etcdDeltaFailedMetric, truth(d.Failed != ""), e.Cluster)
		if d.Reaches > 0 {
			out.gauge(etcdReachesMetric, float64(d.Reaches), e.Cluster)
		}
		out.gauge(etcdHeldMetric, float64(d.Held), e.Cluster)
		out.time(etcdProvedMetric, d.Proved, e.Cluster)
	}
	if d := e.Drill; d != nil {
		out.time(etcdDrillMetric, d.At, e.Cluster)
		out.gauge(etcdDrillFailedMetric, truth(d.Failed != ""), e.Cluster)
		out.gauge(etcdDrillTimeMetric, d.Seconds, e.Cluster)
	}
}

// time sends a time that is known.
func (s sample) time(desc *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.gauge(desc, timestamp(t), labels...)
	}
}
