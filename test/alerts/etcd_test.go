package alerts

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/status"
)

// etcdAlerts is what the names of the alerts on etcd begin with.
const etcdAlerts = "RekindleEtcd"

// cluster is three masters of which one leads. What is true of it is what its agents tell, every minute.
type cluster struct {
	nodes   []*node
	leads   int // which node's member does; -1: none
	members []status.EtcdMember
	edit    func(n int, e *status.Etcd) // what is wrong; nil: nothing

	minute     int // since something happens every minute
	generation int
	taken      time.Time // the newest backup
	drilled    time.Time
	stuck      bool // no backups any more
	lag        time.Duration
}

const (
	interval = 15 * time.Minute
	quota    = 8 << 30
)

func newCluster(t *testing.T) *cluster {
	c := &cluster{generation: 1, taken: time.Now(), drilled: time.Now(), lag: 2 * time.Second}
	for i := range 3 {
		c.nodes = append(c.nodes, master(t, fmt.Sprintf("10.0.%d.5:3989", i+1)))
		c.members = append(c.members, status.EtcdMember{Name: fmt.Sprintf("i-%d", i), Instance: fmt.Sprintf("i-%d", i),
			Health: "ok", DBSize: quota / 2, InUse: quota / 4, Quota: quota})
	}
	return c
}

// tell is what the agents do.
func (c *cluster) tell() {
	now := time.Now()
	if !c.stuck && now.Sub(c.taken) >= interval {
		c.taken = now
	}
	if !c.stuck && now.Sub(c.drilled) >= day {
		c.drilled = now
	}
	for i, n := range c.nodes {
		if n.down {
			continue
		}
		n.board.Applied("9f86d081", time.Second)
		n.board.Etcd("main", func(e *status.Etcd) {
			e.Verdict, e.Row, e.Why, e.Data, e.Leads = "start", "running", "etcd runs", "busy", i == c.leads
			e.Lineage = &status.EtcdLineage{UID: "5f1c0a9e", Generation: c.generation, State: "running", Holder: "i-0"}
			e.Members = slices.Clone(c.members)
			if e.Leads {
				e.Equal, e.Compared = "equal", now
				e.Backup = &status.EtcdBackup{Interval: interval.Seconds(), ID: "1/x", Taken: c.taken, Revision: 7, Count: 9}
				e.Delta = &status.EtcdDelta{Interval: 2, Reaches: 8, Proved: now.Add(-c.lag)}
				e.Drill = &status.EtcdDrill{At: c.drilled, Backup: "1/x"}
			}
			if c.edit != nil {
				c.edit(i, e)
			}
		})
	}
}

func (c *cluster) wrong(edit func(e *status.Etcd)) {
	c.edit = func(n int, e *status.Etcd) {
		if n == c.leads {
			edit(e)
		}
	}
}

// live lets the cluster live for a while, and Prometheus look at it.
func (c *cluster) live(t *testing.T, p *prometheus, lasts time.Duration, every func(c *cluster, minute int)) {
	t.Helper()
	for range int(lasts / time.Minute) {
		if every != nil {
			every(c, c.minute)
			c.minute++
		}
		c.tell()
		for _, n := range c.nodes {
			p.scrape(t, n)
		}
		p.evaluate(t)
		time.Sleep(time.Minute)
	}
}

// Two voters bear no loss, however long there have been two.
func TestEtcdOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newCluster(t), newPrometheus(readRules(t))
		c.members = c.members[:2]
		c.live(t, p, 16*time.Minute, nil)
		p.check(t, 16*time.Minute, []string{"RekindleEtcdMemberMissing"})
	})
}

// TestEtcdAlerts lets three masters live well, then has something happen to them: which alerts fire, and not before they may?
func TestEtcdAlerts(t *testing.T) {
	rules := readRules(t)
	unseen := map[string]bool{}
	for _, rule := range rules {
		unseen[rule.Alert] = strings.HasPrefix(rule.Alert, etcdAlerts)
	}
	for _, tc := range []struct {
		name  string
		first func(*cluster)               // happens once
		every func(c *cluster, minute int) // happens every minute
		quiet time.Duration                // nothing fires until then
		lasts time.Duration
		fires []string
	}{
		{"all is well", nil, nil, 0, time.Hour, nil},
		{"the lead moves from node to node", nil, func(c *cluster, minute int) { c.leads = minute / 3 % 3 }, 0, 25 * time.Minute, nil},
		{"an election takes some minutes", nil, func(c *cluster, minute int) {
			if c.leads = -1; minute >= 8 {
				c.leads = 2
			}
		}, 0, 20 * time.Minute, nil},
		{"nobody leads", func(c *cluster) { c.leads = -1 }, nil, 10 * time.Minute, 11 * time.Minute, []string{"RekindleEtcdNoLeader"}},
		{"the leader dies, another takes over", func(c *cluster) { c.nodes[0].down, c.leads = true, 1 }, nil, 0, 5 * time.Minute, nil},
		{"followers know nothing of backups", func(c *cluster) {
			c.edit = func(n int, e *status.Etcd) {
				if n != c.leads {
					e.Backup = &status.EtcdBackup{Failed: "403", ID: "1/w", Taken: time.Now().Add(-day), Interval: interval.Seconds()}
					e.Delta = &status.EtcdDelta{Proved: time.Now().Add(-day), Failed: "403"}
					e.Drill = &status.EtcdDrill{At: time.Now().Add(-9 * day), Failed: "torn"}
				}
			}
		}, nil, 0, 25 * time.Minute, nil},
		{"backups end", func(c *cluster) { c.stuck = true }, nil, 30 * time.Minute, 52 * time.Minute, []string{"RekindleEtcdBackupMissing"}},
		{"a backup is late", nil, func(c *cluster, minute int) { c.stuck = minute < 40 }, 0, 50 * time.Minute, nil},
		{"a backup failed, and then did not", nil, func(c *cluster, minute int) {
			c.wrong(func(e *status.Etcd) {
				if minute < 10 {
					e.Backup.Failed = "403"
				}
			})
		}, 0, 20 * time.Minute, nil},
		{"there is none", func(c *cluster) {
			c.wrong(func(e *status.Etcd) { e.Backup = &status.EtcdBackup{Interval: interval.Seconds(), Failed: "403"} })
		}, nil, 45 * time.Minute, 46 * time.Minute, []string{"RekindleEtcdNoBackup"}},
		{"none are wanted", func(c *cluster) { c.wrong(func(e *status.Etcd) { e.Backup, e.Delta, e.Drill = nil, nil, nil }) }, nil, 0, 50 * time.Minute, nil},
		{"deltas lag", func(c *cluster) { c.lag = 70 * time.Second }, nil, 2 * time.Minute, 3 * time.Minute, []string{"RekindleEtcdDeltaLag"}},
		{"deltas are slow", func(c *cluster) { c.lag = 50 * time.Second }, nil, 0, 20 * time.Minute, nil},
		{"a drill failed", func(c *cluster) { c.wrong(func(e *status.Etcd) { e.Drill.Failed = "torn" }) }, nil, 5 * time.Minute, 6 * time.Minute,
			[]string{"RekindleEtcdDrillFailed"}},
		{"drills end", func(c *cluster) {
			last := time.Now().Add(-3 * day)
			c.wrong(func(e *status.Etcd) { e.Drill.At = last })
		}, nil, time.Hour, 63 * time.Minute, []string{"RekindleEtcdDrillMissing"}},
		{"members differ", func(c *cluster) { c.wrong(func(e *status.Etcd) { e.Equal = "differs: i-2 (another hash)" }) }, nil, 0, time.Minute,
			[]string{"RekindleEtcdMembersDiffer"}},
		{"members could not be compared", func(c *cluster) { c.wrong(func(e *status.Etcd) { e.Equal = "not comparable: i-2 does not answer" }) },
			nil, 0, 20 * time.Minute, nil},
		{"a database is full", func(c *cluster) { c.wrong(func(e *status.Etcd) { e.Alarms = []string{"NOSPACE i-1"} }) }, nil, 2 * time.Minute,
			3 * time.Minute, []string{"RekindleEtcdAlarmed"}},
		{"a member is corrupt", func(c *cluster) { c.wrong(func(e *status.Etcd) { e.Alarms = []string{"CORRUPT i-1 compare it"} }) }, nil,
			2 * time.Minute, 3 * time.Minute, []string{"RekindleEtcdAlarmed"}},
		{"an alarm that etcd has not yet", func(c *cluster) { c.wrong(func(e *status.Etcd) { e.Alarms = []string{"NEWER i-1"} }) }, nil,
			2 * time.Minute, 3 * time.Minute, []string{"RekindleEtcdAlarmed"}},
		{"a database grows", func(c *cluster) { c.members[1].DBSize = quota / 100 * 81 }, nil, 15 * time.Minute, 16 * time.Minute, []string{"RekindleEtcdNearQuota"}},
		{"a database is of some size", func(c *cluster) { c.members[1].DBSize = quota / 100 * 79 }, nil, 0, 20 * time.Minute, nil},
		{"there is no quota", func(c *cluster) { c.members[1].Quota = -1 }, nil, 0, 20 * time.Minute, nil},
		{"a member is not well", func(c *cluster) { c.members[2].Health = "no answer" }, nil, 10 * time.Minute, 11 * time.Minute,
			[]string{"RekindleEtcdMemberUnhealthy"}},
		{"a member restarts", nil, func(c *cluster, minute int) {
			if c.members[2].Health = "ok"; minute < 8 {
				c.members[2].Health = "no answer"
			}
		}, 0, 20 * time.Minute, nil},
		{"a member is lost", func(c *cluster) { c.members[2].Lost = "disk" }, nil, 10 * time.Minute, 11 * time.Minute, []string{"RekindleEtcdMemberUnhealthy"}},
		{"a member is gone", func(c *cluster) { c.members = c.members[:2] }, nil, 15 * time.Minute, 16 * time.Minute, []string{"RekindleEtcdMemberMissing"}},
		{"two members are gone", func(c *cluster) { c.members = c.members[:1] }, nil, 15 * time.Minute, 16 * time.Minute, []string{"RekindleEtcdMemberMissing"}},
		{"a member is replaced", nil, func(c *cluster, minute int) { c.members[2].Learner = minute < 12 }, 0, 20 * time.Minute, nil},
		{"a cluster of one", func(c *cluster) {
			c.members, c.nodes[1].down, c.nodes[2].down = c.members[:1], true, true
		}, nil, 0, 4 * time.Minute, nil},
		{"it was restored", func(c *cluster) { c.generation++ }, nil, 0, time.Minute, []string{"RekindleEtcdNewGeneration"}},
		{"the lineage is gone", func(c *cluster) {
			c.edit = func(_ int, e *status.Etcd) {
				e.Lineage, e.Row, e.Why = nil, "run without record", "the lineage is gone"
			}
		}, nil, 5 * time.Minute, 6 * time.Minute, []string{"RekindleEtcdRecordGone"}},
		{"a member may not start", func(c *cluster) {
			c.edit = func(n int, e *status.Etcd) {
				if n == 2 {
					e.Verdict, e.Row, e.Data = "wait", "wait quorum", "empty"
				}
			}
		}, nil, 15 * time.Minute, 16 * time.Minute, []string{"RekindleEtcdBlocked"}},
		{"a member may not start, with pauses", nil, func(c *cluster, minute int) {
			c.edit = func(n int, e *status.Etcd) {
				if n == 2 && minute%3 > 0 {
					e.Verdict, e.Row, e.Data = "stop", "adopt", "empty"
				}
			}
		}, 15 * time.Minute, 19 * time.Minute, []string{"RekindleEtcdBlocked"}},
		{"a member starts in time", nil, func(c *cluster, minute int) {
			c.edit = func(n int, e *status.Etcd) {
				if n == 2 && minute < 9 {
					e.Verdict, e.Row, e.Data = "wait", "wait holder", "empty"
				}
			}
		}, 0, 20 * time.Minute, nil},
		{"etcd is not well after the start", func(c *cluster) {
			c.nodes[2].board.Degrade(status.Fail(status.ReasonEtcdBlocked, "", errors.New("x")))
		}, nil, 15 * time.Minute, 17 * time.Minute, []string{"RekindleEtcdBlocked", "RekindleNotReady"}},
	} {
		for _, alert := range tc.fires {
			delete(unseen, alert)
		}
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := newCluster(t), newPrometheus(rules)
				c.live(t, p, 3*time.Minute, nil)
				if len(p.fired) > 0 {
					t.Errorf("before anything happened: %v", p.fired)
				}
				if tc.first != nil {
					tc.first(c)
				}
				c.live(t, p, tc.quiet, tc.every)
				if tc.quiet > 0 && len(p.fired) > 0 {
					t.Fatalf("after %s: %v", tc.quiet, slices.Sorted(maps.Keys(p.fired)))
				}
				c.live(t, p, tc.lasts-tc.quiet, tc.every)
				p.check(t, tc.lasts, tc.fires)
			})
		})
	}
	everyOneFired(t, unseen)
}
