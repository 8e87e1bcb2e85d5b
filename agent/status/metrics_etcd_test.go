package status

import (
	"strings"
	"testing"
)

// series are the lines of a scrape about etcd, and whether a name is among them.
func etcdSeries(t *testing.T, b *Board) (lines string) {
	t.Helper()
	_, body := scrape(t, NewMetrics(b), "/metrics")
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "rekindle_etcd_") {
			lines += line
		}
	}
	return lines
}

// There is one source for what the leader's agent finds out.
func TestFollowersTellWhatTheyKnow(t *testing.T) {
	b := quietBoard(t)
	if lines := etcdSeries(t, b); lines != "" {
		t.Errorf("a node without members says:\n%s", lines)
	}
	e := fullEtcd()
	e.Leads = false
	b.become(e)
	want := `rekindle_etcd_aside_bytes{etcd="main"} 3.2505856e+08
rekindle_etcd_decision{etcd="main",row="running"} 1
rekindle_etcd_generation{etcd="main"} 3
rekindle_etcd_leads{etcd="main"} 0
rekindle_etcd_lineage_state{etcd="main",state="creating"} 0
rekindle_etcd_lineage_state{etcd="main",state="rescuing"} 0
rekindle_etcd_lineage_state{etcd="main",state="restoring"} 0
rekindle_etcd_lineage_state{etcd="main",state="running"} 1
rekindle_etcd_lineage_unknown{etcd="main"} 1
rekindle_etcd_member_lost{etcd="main",member="i-0abc12de34f567890"} 0
rekindle_etcd_member_lost{etcd="main",member="i-0bbb12de34f567891"} 0
rekindle_etcd_member_lost{etcd="main",member="i-0ccc12de34f567892"} 1
rekindle_etcd_members{etcd="main",role="learner"} 1
rekindle_etcd_members{etcd="main",role="voter"} 2
rekindle_etcd_waiting{etcd="main"} 0
`
	if lines := etcdSeries(t, b); lines != want {
		t.Errorf("a follower says:\n%s", lines)
	}
}

// What is not known has no series: an alert would take 0 for something.
func TestEtcdMetricsOfWhatIsNotKnown(t *testing.T) {
	b := quietBoard(t)
	e := etcds["unread"]()
	e.Leads, e.Equal = true, "not comparable: i-2 does not answer"
	e.Backup, e.Delta = &EtcdBackup{Failed: "403"}, &EtcdDelta{Failed: "403"}
	e.Members = []EtcdMember{{Name: "asked"}, {Name: "unlimited", Health: "ok", DBSize: 1, Quota: -1}, {Name: "silent", Health: "no answer"}}
	b.become(e)
	lines := etcdSeries(t, b)
	for _, name := range []string{"generation", "lineage_state", "data_equal", "backup_timestamp", "backup_revision", "backup_interval",
		"delta_proved", "drill", "quota", `member_healthy{etcd="main",member="asked"`, `db_bytes{etcd="main",member="silent"`} {
		if strings.Contains(lines, "rekindle_etcd_"+name) {
			t.Errorf("%s in:\n%s", name, lines)
		}
	}
	for _, line := range []string{"waiting{etcd=\"main\"} 1", "lineage_unknown{etcd=\"main\"} 1", "backups{etcd=\"main\"} 0",
		"member_healthy{etcd=\"main\",member=\"silent\"} 0", "decision{etcd=\"main\",row=\"unknown\"} 1", `alarms{alarm="NOSPACE",etcd="main"} 0`} {
		if !strings.Contains(lines, "rekindle_etcd_"+line+"\n") {
			t.Errorf("no %s in:\n%s", line, lines)
		}
	}
}

// An alarm that etcd will have one day is one all the same, and makes no label of its own.
func TestEtcdAlarmsAreFew(t *testing.T) {
	b := quietBoard(t)
	e := leadingEtcd()
	e.Alarms = []string{"CORRUPT i-1 x", "CORRUPT i-2 x", "NEWER i-1", "NEWEST"}
	b.become(e)
	lines := etcdSeries(t, b)
	for _, line := range []string{`alarm="CORRUPT",etcd="main"} 2`, `alarm="NOSPACE",etcd="main"} 0`, `alarm="other",etcd="main"} 2`} {
		if !strings.Contains(lines, line) {
			t.Errorf("no %s in:\n%s", line, lines)
		}
	}
	if strings.Contains(lines, "NEWE") {
		t.Errorf("a label of its own:\n%s", lines)
	}
}

// A step that was decided on, and cannot be done yet, is a wait as well; those of other things are not.
func TestEtcdWaitsForItsTurn(t *testing.T) {
	b := quietBoard(t)
	b.become(etcdOf("join", "join", "the cluster has a quorum", "", "empty"))
	const waiting = `rekindle_etcd_waiting{etcd="main"} 1`
	b.Begin(t.Context(), "etcd events", "x")
	b.Begin(t.Context(), "etcd main: restore", "x")
	if lines := etcdSeries(t, b); strings.Contains(lines, waiting) {
		t.Error("it waits for what is not its own")
	}
	done := b.Begin(t.Context(), "etcd main", "another member's change to end")
	if lines := etcdSeries(t, b); !strings.Contains(lines, waiting) {
		t.Errorf("it waits, and says:\n%s", lines)
	}
	done()
	if lines := etcdSeries(t, b); strings.Contains(lines, waiting) {
		t.Error("it waits no longer")
	}
}
