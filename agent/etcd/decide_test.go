package etcd

import (
	"errors"
	"testing"
)

var (
	unknown = errors.New("403")
	mark1   = &Marker{UID: "u", Generation: 1, Member: "m", Token: "u-g1"}
	mark2   = &Marker{UID: "u", Generation: 2, Member: "m", Token: "u-g2"}
)

func record(state, holder string, generation int) *Lineage {
	return &Lineage{UID: "u", Generation: generation, State: state, Token: "u-g1",
		Holder: Holder{Instance: holder}, Members: []Member{{Name: "m"}}}
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		name string
		seen Facts
		want Verdict
	}{
		{"new cluster", Facts{}, Create},
		{"lineage unreadable", Facts{RecordUnknown: unknown}, Wait},
		{"backups unlistable", Facts{BackupsUnknown: unknown}, Wait},
		{"backups without a lineage", Facts{Backups: true}, Stop},
		{"marker alone", Facts{Marker: mark1}, Stop},
		{"own creation, crashed before the marker", Facts{Record: record(Creating, "self", 1)}, Resume},
		{"own creation, crashed after the marker", Facts{Record: record(Creating, "self", 1), Marker: mark1}, Resume},
		{"another creates", Facts{Record: record(Creating, "other", 1)}, Wait},
		{"runs, and this node is empty", Facts{Record: record(Running, "other", 1)}, Stop},
		{"runs, and this node lost its disk", Facts{Record: record(Running, "self", 1)}, Stop},
		{"restart", Facts{Data: true, Marker: mark1, Record: record(Running, "self", 1)}, Start},
		{"restart before the confirmation", Facts{Data: true, Marker: mark1, Record: record(Creating, "self", 1)}, Start},
		{"restart while the store is away", Facts{Data: true, Marker: mark1, RecordUnknown: unknown}, Start},
		{"data, and the record is gone", Facts{Data: true, Marker: mark1}, Stop},
		{"data of an older generation", Facts{Data: true, Marker: mark1, Record: record(Running, "other", 2)}, Stop},
		{"data of a newer generation", Facts{Data: true, Marker: mark2, Record: record(Running, "other", 1)}, Stop},
		{"data of nobody", Facts{Data: true}, Stop},
		{"data of nobody, record there", Facts{Data: true, Record: record(Running, "self", 1)}, Stop},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.seen.Self = "self"
			action := Decide(test.seen)
			if action.Verdict != test.want {
				t.Errorf("verdict %s (%s), want %s", action.Verdict, action.Why, test.want)
			}
			if action.Why == "" || (action.Verdict == Stop && action.Hint == "") {
				t.Errorf("an operator learns nothing from %+v", action)
			}
		})
	}
}

// Every combination of facts: a cluster is created only where nothing at all speaks against it, and a member is
// started only from data whose marker the record does not contradict.
func TestDecideEveryCombination(t *testing.T) {
	records := []*Lineage{nil, record(Creating, "self", 1), record(Creating, "other", 1), record(Running, "self", 1),
		record(Running, "other", 1), record(Running, "other", 2)}
	failures := []error{nil, unknown}
	combinations := 0
	for _, data := range []bool{false, true} {
		for _, marker := range []*Marker{nil, mark1, mark2} {
			for _, record := range records {
				for _, recordUnknown := range failures {
					for _, backups := range []bool{false, true} {
						for _, backupsUnknown := range failures {
							seen := Facts{Self: "self", Data: data, Marker: marker, Record: record,
								RecordUnknown: recordUnknown, Backups: backups, BackupsUnknown: backupsUnknown}
							combinations++
							checkVerdict(t, seen, Decide(seen).Verdict)
						}
					}
				}
			}
		}
	}
	if combinations != 288 {
		t.Errorf("%d combinations, want 288", combinations)
	}
}

func checkVerdict(t *testing.T, seen Facts, verdict Verdict) {
	t.Helper()
	blank := !seen.Data && seen.Marker == nil && seen.Record == nil && seen.RecordUnknown == nil &&
		!seen.Backups && seen.BackupsUnknown == nil
	if (verdict == Create) != blank {
		t.Errorf("%s for %+v", verdict, seen)
	}
	if verdict == Start {
		ours := seen.Data && seen.Marker != nil
		contradicted := seen.RecordUnknown == nil && (seen.Record == nil || !seen.Marker.of(seen.Record))
		if !ours || contradicted {
			t.Errorf("start for %+v", seen)
		}
	}
	if verdict == Resume && (seen.Data || seen.RecordUnknown != nil || seen.Record.Holder.Instance != "self") {
		t.Errorf("resume for %+v", seen)
	}
}
