package status

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// warningsOf are the reasons of a board's warnings about etcd, sorted.
func warningsOf(b *Board) (reasons []Reason) {
	for _, w := range b.Snapshot().Warnings {
		reasons = append(reasons, w.Reason)
	}
	slices.Sort(reasons)
	return reasons
}

// What a leader's node is like after ever longer, and what it warns of then. Times are before now.
func TestEtcdWarnings(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	const interval = 900 * time.Second
	for _, tc := range []struct {
		name string
		led  time.Duration
		edit func(e *Etcd)
		want []Reason
		says string
	}{
		{"well", time.Hour, func(*Etcd) {}, nil, ""},
		{"one failed backup", time.Hour, func(e *Etcd) { e.Backup.Failed = "403" }, nil, ""},
		{"failing, just so", time.Hour, func(e *Etcd) { e.Backup.Failed, e.Backup.Taken = "403", ago(3*interval) }, nil, ""},
		{"failing", time.Minute, func(e *Etcd) { e.Backup.Failed, e.Backup.Taken = "403", ago(3*interval+time.Second) },
			[]Reason{ReasonEtcdBackupFailing}, ": 403"},
		{"old, and it has just begun to lead", interval, func(e *Etcd) { e.Backup.Taken = ago(day * time.Second) }, nil, ""},
		{"old, and it does not fail", 3*interval + time.Second, func(e *Etcd) { e.Backup.Taken = ago(4 * interval) }, []Reason{ReasonEtcdBackupFailing}, "none was finished"},
		{"none", time.Minute, func(e *Etcd) { e.Backup = &EtcdBackup{Interval: 900, Failed: "403"} }, []Reason{ReasonEtcdNoBackup}, "is known: 403"},
		{"none yet", 3 * interval, func(e *Etcd) { e.Backup = &EtcdBackup{Interval: 900} }, nil, ""},
		{"none for long", 3*interval + time.Second, func(e *Etcd) { e.Backup = &EtcdBackup{Interval: 900} }, []Reason{ReasonEtcdNoBackup}, "none was finished"},
		{"none wanted", 100 * interval, func(e *Etcd) { e.Backup, e.Delta, e.Drill = nil, nil, nil }, nil, ""},
		{"lag", time.Hour, func(e *Etcd) {
			e.Backup.Taken, e.Delta.Proved, e.Delta.Failed = ago(90*time.Second), ago(61*time.Second), "503"
		},
			[]Reason{ReasonEtcdDeltaLag}, "stored nowhere else: 503"},
		{"no lag", time.Hour, func(e *Etcd) { e.Backup.Taken, e.Delta.Proved = ago(90*time.Second), ago(60*time.Second) }, nil, ""},
		{"no lag behind a backup", time.Hour, func(e *Etcd) { e.Delta.Proved = ago(time.Hour) }, nil, ""},
		{"deltas are rare", time.Hour, func(e *Etcd) {
			e.Backup.Taken, e.Delta.Proved, e.Delta.Interval = ago(time.Hour/4), ago(25*time.Minute), 600
		}, nil, ""},
		{"lag of the last leader", time.Minute, func(e *Etcd) { e.Backup.Taken, e.Delta = ago(10*time.Minute), &EtcdDelta{Interval: 2} }, nil, ""},
		{"lag that stays", 61 * time.Second, func(e *Etcd) { e.Backup.Taken, e.Delta = ago(10*time.Minute), &EtcdDelta{Interval: 2} },
			[]Reason{ReasonEtcdDeltaLag}, "stored nowhere else"},
		{"just elected", time.Second, func(e *Etcd) { e.Backup, e.Delta = &EtcdBackup{Interval: 900}, &EtcdDelta{Interval: 2} }, nil, ""},
		{"drill", time.Hour, func(e *Etcd) { e.Drill.Failed = "torn" }, []Reason{ReasonEtcdDrillFailed}, "backup 3/x could not be restored: torn"},
		{"differ", time.Hour, func(e *Etcd) { e.Equal = "differs: i-2 (x)" }, []Reason{ReasonEtcdMembersDiffer}, "differs: i-2 (x)"},
		{"not compared", time.Hour, func(e *Etcd) { e.Equal = "not comparable: x" }, nil, ""},
		{"alarms", time.Hour, func(e *Etcd) { e.Alarms = []string{"NOSPACE i-1", "CORRUPT i-2"} }, []Reason{ReasonEtcdAlarm}, "NOSPACE i-1; CORRUPT i-2"},
		{"no record", time.Hour, func(e *Etcd) { e.Row, e.Why, e.Lineage = rowGone, "gone", nil }, []Reason{ReasonEtcdRecordGone}, "gone"},
		{"unread", time.Hour, func(e *Etcd) { e.Lineage.Unknown = "403" }, []Reason{ReasonEtcdRecordUnknown}, "403"},
		{"aside", time.Hour, func(e *Etcd) {
			e.Aside = []EtcdAside{{Path: "/1"}, {Path: "/2"}, {Path: "/3", Why: "torn"}, {Path: "/4"}}
		},
			[]Reason{ReasonEtcdDataSetAside}, "/2; /3 (torn); /4; and 1 older"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := quietBoard(t)
				b.Etcd("main", func(e *Etcd) { e.Leads = true })
				time.Sleep(tc.led)
				well := func(e *Etcd) {
					led := e.Led
					*e = leadingEtcd()
					e.Led, e.Backup.ID, e.Backup.Taken, e.Delta.Proved = led, "3/x", ago(time.Minute), ago(time.Second)
					e.Drill.Backup = "3/x"
				}
				b.Etcd("main", func(e *Etcd) { well(e); tc.edit(e) })
				if got := warningsOf(b); !slices.Equal(got, tc.want) {
					t.Fatalf("it warns of %v, want %v", got, tc.want)
				}
				for _, w := range b.Snapshot().Warnings {
					if !strings.HasPrefix(w.Message, "etcd main: ") || !strings.Contains(w.Message, tc.says) || w.Hint == "" {
						t.Errorf("it says %+v, want %q", w, tc.says)
					}
				}
				b.Etcd("main", well)
				if got := warningsOf(b); len(got) > 0 {
					t.Errorf("it is well again, and warns of %v", got)
				}
			})
		})
	}
}

// A node that merely follows does not alarm about what the leader's node keeps, whatever it knows of it.
func TestEtcdFollowersDoNotWarn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := quietBoard(t)
		b.Etcd("main", func(e *Etcd) { e.Leads = true })
		time.Sleep(time.Hour)
		e := fullEtcd()
		e.Lineage.Unknown, e.Aside = "", []EtcdAside{}
		e.Equal, e.Backup.Taken, e.Delta.Proved = "differs: i-2", time.Now().Add(-time.Hour), time.Time{}
		b.become(e)
		if got := warningsOf(b); len(got) != 5 {
			t.Fatalf("as a leader it warns of %v", got)
		}
		b.Etcd("main", func(e *Etcd) { e.Leads = false })
		if got := warningsOf(b); len(got) > 0 {
			t.Errorf("as a follower it warns of %v", got)
		}
		b.Etcd("main", func(f *Etcd) { f.Backup, f.Delta, f.Drill = e.Backup, e.Delta, e.Drill })
		if got := warningsOf(b); len(got) > 0 {
			t.Errorf("a follower that knows of backups warns of %v", got)
		}
	})
}

// A warning stands since it was first given, whatever its words become; and clusters do not take each other's away.
func TestEtcdWarningsKeepTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, began := quietBoard(t), time.Now()
		for _, cluster := range []string{"main", "events"} {
			b.Etcd(cluster, func(e *Etcd) { e.Lineage = &EtcdLineage{Unknown: "503, request 1"} })
		}
		b.Warn(ReasonEtcdRecordUnknown, "", "somebody else's")
		time.Sleep(time.Minute)
		b.Etcd("main", func(e *Etcd) { e.Lineage.Unknown = "503, request 2" })
		w := b.Snapshot().Warnings
		if len(w) != 3 || w[0].Message != "etcd main: 503, request 2" || w[1].Message != "etcd events: 503, request 1" || !w[0].Since.Equal(began) {
			t.Errorf("warnings: %+v", w)
		}
		b.Etcd("main", func(e *Etcd) { e.Lineage.Unknown = "" })
		if w := b.Snapshot().Warnings; len(w) != 2 || w[0].Message != "etcd events: 503, request 1" {
			t.Errorf("warnings: %+v", w)
		}
	})
}
