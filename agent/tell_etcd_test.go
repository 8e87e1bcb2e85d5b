package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/host"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

var toldMember = plan.Etcd{Name: "main", Member: "i-1", DataDir: "/var/lib/etcd/main"}

// telling is an agent that shows things, on a node in a directory.
func telling(t *testing.T) (*Agent, func() status.Etcd) {
	t.Helper()
	root := t.TempDir()
	a := &Agent{Options: Options{Root: root, Logger: slog.New(slog.DiscardHandler)}, host: host.New(root)}
	a.board = status.NewBoard(filepath.Join(root, "status.json"), "v1", nil)
	if err := a.board.Close(); err != nil {
		t.Fatal(err)
	}
	return a, func() status.Etcd {
		t.Helper()
		all := a.board.Snapshot().Etcd
		if len(all) != 1 {
			t.Fatalf("%d clusters are shown", len(all))
		}
		return all[0]
	}
}

func record() *etcd.Lineage {
	return &etcd.Lineage{UID: "u", Generation: 2, State: etcd.Running, Token: "u-g2", Holder: etcd.Holder{Instance: "i-2", Nonce: "n"},
		Members: []etcd.Member{
			{Name: "i-1", Instance: "i-1", Address: "10.0.1.5", PeerURL: "https://i-1:2380"},
			{Name: "i-2", Instance: "i-2", PeerURL: "https://i-2:2380", Learner: true, Lost: "disk"},
		},
		Change: &etcd.Change{Kind: etcd.Promote, Member: "i-2", Instance: "i-2"}}
}

func found(state datadir.State, marker *datadir.Marker) datadir.Found {
	return datadir.Found{State: state, Marker: marker}
}

// tellDecision decides on facts for real, and shows it.
func (a *Agent) tellDecision(facts etcd.Facts) etcd.Action {
	action := etcd.Decide(facts)
	a.tellEtcd(toldMember, facts, action)
	return action
}

func TestTellEtcd(t *testing.T) {
	mine := &datadir.Marker{UID: "u", Generation: 2, Member: "i-1", Token: "u-g2", Instance: "i-1"}
	denied := errors.New("403 AccessDenied")
	for _, tc := range []struct {
		name   string
		facts  etcd.Facts
		row    string
		waits  bool
		member string
		warns  []status.Reason
	}{
		{"running", etcd.Facts{Self: "i-1", Record: record(), Found: found(datadir.Busy, mine)}, "running", false, "i-1", nil},
		{"the record is gone", etcd.Facts{Self: "i-1", Found: found(datadir.Busy, mine)}, "run without record", false, "i-1",
			[]status.Reason{status.ReasonEtcdRecordGone}},
		{"the record cannot be read", etcd.Facts{Self: "i-1", RecordUnknown: denied, Found: found(datadir.Busy, mine)}, "start unknown", false, "i-1",
			[]status.Reason{status.ReasonEtcdRecordUnknown}},
		{"nor can anything start", etcd.Facts{Self: "i-1", RecordUnknown: denied, Found: found(datadir.Empty, nil)}, "unknown", true, "",
			[]status.Reason{status.ReasonEtcdRecordUnknown}},
		{"backups, and no record", etcd.Facts{Self: "i-1", Trace: &etcd.Trace{Found: true}, Found: found(datadir.Empty, nil)}, "adopt", true, "", nil},
		{"no quorum", etcd.Facts{Self: "i-3", Record: record(), Found: found(datadir.Empty, nil),
			Quorum: &etcd.Quorum{Why: "connection refused"}, Instances: &etcd.Instances{}}, "wait quorum", true, "", nil},
		{"its disk is gone", etcd.Facts{Self: "i-1", Record: record(), Found: found(datadir.Empty, nil)}, "lost disk", false, "i-1", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, shown := telling(t)
			action := a.tellDecision(tc.facts)
			e := shown()
			if e.Row != tc.row || e.Waits() != tc.waits || e.Member != tc.member || e.Why != action.Why || e.Hint != action.Hint || e.Why == "" {
				t.Errorf("row %q, waits %t, member %q, why %q, hint %q", e.Row, e.Waits(), e.Member, e.Why, e.Hint)
			}
			if e.Waits() && e.Hint == "" {
				t.Error("it waits, and says nothing of what to do")
			}
			var warns []status.Reason
			for _, w := range a.board.Snapshot().Warnings {
				warns = append(warns, w.Reason)
			}
			if !slices.Equal(warns, tc.warns) {
				t.Errorf("it warns of %v, want %v", warns, tc.warns)
			}
		})
	}
}

// Every row on which nothing starts until something changes shows as waiting, and no other.
func TestTellEtcdWaits(t *testing.T) {
	for _, verdict := range []etcd.Verdict{etcd.Start, etcd.Create, etcd.Begin, etcd.Join, etcd.Claim, etcd.Report, etcd.Position,
		etcd.TakeOver, etcd.Restore, etcd.Rescue, etcd.SetAside, etcd.Halt, etcd.Wait, etcd.Stop} {
		if e := (&status.Etcd{Verdict: string(verdict)}); e.Waits() != (verdict == etcd.Wait || verdict == etcd.Stop) {
			t.Errorf("%s: waits is %t", verdict, e.Waits())
		}
	}
}

func TestTellEtcdLineage(t *testing.T) {
	a, shown := telling(t)
	mine := &datadir.Marker{UID: "u", Generation: 2, Member: "i-1", Instance: "i-1"}
	facts := etcd.Facts{Self: "i-1", Record: record(), Found: found(datadir.Busy, mine)}
	a.tellDecision(facts)
	a.board.Etcd("main", func(e *status.Etcd) { e.Leads, e.Members[0].Health = true, "ok" })
	a.tellDecision(facts)
	e := shown()
	if diff := cmp.Diff(&status.EtcdLineage{UID: "u", Generation: 2, State: "running", Holder: "i-2", Change: "promote i-2 by i-2"}, e.Lineage); diff != "" {
		t.Errorf("lineage (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]status.EtcdMember{{Name: "i-1", Instance: "i-1", Address: "10.0.1.5", Health: "ok"},
		{Name: "i-2", Instance: "i-2", Learner: true, Lost: "disk"}}, e.Members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}

	facts.Record, facts.RecordUnknown = nil, errors.New("503")
	a.tellDecision(facts)
	if e := shown(); e.Lineage == nil || e.Lineage.Generation != 2 || e.Lineage.Unknown != "503" || len(e.Members) != 2 {
		t.Errorf("what was known last is forgotten: %+v", e)
	}
	facts.RecordUnknown = nil
	a.tellDecision(facts)
	if e := shown(); e.Lineage != nil || len(e.Members) != 2 {
		t.Errorf("the record is gone, and etcd runs: %+v", e)
	}
	facts.Found, facts.Trace = found(datadir.Empty, nil), &etcd.Trace{}
	a.tellDecision(facts)
	if e := shown(); e.Row != "create" || len(e.Members) != 0 {
		t.Errorf("nothing is there: %+v", e)
	}
	facts.Record = record()
	a.tellDecision(facts)
	if e := shown(); e.Lineage == nil || e.Lineage.Unknown != "" {
		t.Errorf("the record is back: %+v", e)
	}
}

// A reason that changes its words, as an error with a request's number does, begins nothing anew.
func TestTellEtcdSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, shown := telling(t)
		facts := etcd.Facts{Self: "i-1", Found: found(datadir.Empty, nil), RecordUnknown: errors.New("503, request 1")}
		a.tellDecision(facts)
		began := time.Now()
		time.Sleep(time.Minute)
		facts.RecordUnknown = errors.New("503, request 2")
		a.tellDecision(facts)
		if e := shown(); !e.Decided.Equal(began) || !strings.Contains(e.Why, "request 2") {
			t.Errorf("decided %s, began %s: %s", e.Decided, began, e.Why)
		}
		facts.RecordUnknown, facts.Trace = nil, &etcd.Trace{Found: true}
		a.tellDecision(facts)
		if e := shown(); !e.Decided.Equal(time.Now()) {
			t.Errorf("another row, and decided is still %s", e.Decided)
		}
	})
}

func TestTellEtcdAside(t *testing.T) {
	a, shown := telling(t)
	dir := filepath.Join(a.Root, toldMember.DataDir)
	if err := os.MkdirAll(datadir.Data(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(datadir.Data(dir), "db"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	where, err := datadir.SetAside(dir, since, "own data is torn")
	if err != nil {
		t.Fatal(err)
	}
	facts := etcd.Facts{Self: "i-1", Trace: &etcd.Trace{}, Found: found(datadir.Empty, nil)}
	a.tellDecision(facts)
	e := shown()
	if len(e.Aside) != 1 || e.Aside[0].Path != "/var/lib/etcd/main/"+filepath.Base(where) || e.Aside[0].Bytes < 5000 ||
		e.Aside[0].Why != "own data is torn" || !e.Aside[0].Since.Equal(since) {
		t.Fatalf("aside: %+v", e.Aside)
	}
	warnings := a.board.Snapshot().Warnings
	if len(warnings) != 1 || warnings[0].Reason != status.ReasonEtcdDataSetAside || !strings.Contains(warnings[0].Message, e.Aside[0].Path) {
		t.Errorf("warnings: %+v", warnings)
	}
	if err := os.RemoveAll(where); err != nil {
		t.Fatal(err)
	}
	a.tellDecision(facts)
	if warnings := a.board.Snapshot().Warnings; len(warnings) != 0 || len(shown().Aside) != 0 {
		t.Errorf("it was removed: %+v", warnings)
	}
}

func TestTellBuilt(t *testing.T) {
	a, shown := telling(t)
	a.tellBuilt(toldMember, etcd.Build{Marker: datadir.Marker{Generation: 4}}, etcd.Built{Backup: "3/x", Revision: 9, Warnings: []string{"w"}}, 1500*time.Millisecond)
	if b := shown().Built; b == nil || b.Generation != 4 || b.Backup != "3/x" || b.Revision != 9 || b.Seconds != 1.5 || !slices.Equal(b.Warnings, []string{"w"}) {
		t.Errorf("built: %+v", b)
	}
}
