package etcd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"rekindle/agent/etcd/datadir"
)

// draw makes facts at random, complete or with questions that nobody asked yet.
func draw(r *rand.Rand) Facts {
	f := Facts{Self: "i-a", Reported: r.IntN(8) == 0, Leaderless: r.IntN(4) == 0, Stuck: r.IntN(8) == 0}
	f.Found.State = pick(r, datadir.Empty, datadir.Sound, datadir.Torn, datadir.Busy)
	if r.IntN(5) > 0 {
		f.Found.Marker = &datadir.Marker{
			UID: pick(r, "u", "u", "u", "v"), Generation: 1 + r.IntN(3), Member: pick(r, "a", "b", "c"),
			Instance: pick(r, "i-a", "i-b"), Fresh: r.IntN(4) == 0,
		}
		f.Found.Position = datadir.Position{Term: uint64(1 + r.IntN(2)), Index: uint64(r.IntN(3))}
	}
	switch r.IntN(6) {
	case 0:
		f.RecordUnknown = errDown
	case 1:
	default:
		f.Record = drawRecord(r)
	}
	if r.IntN(5) > 0 {
		f.Trace = &Trace{Found: r.IntN(2) == 0}
		if r.IntN(4) == 0 {
			f.Trace = &Trace{Unknown: errDown}
		}
	}
	if r.IntN(5) > 0 {
		f.Quorum = &Quorum{Reachable: r.IntN(3) == 0}
	}
	if r.IntN(5) > 0 {
		f.Instances = gone()
		for _, id := range []string{"i-b", "i-c", "i-d", "i-e"} {
			f.Instances.Gone[id] = r.IntN(2) == 0
			f.Instances.Stopped[id] = r.IntN(4) == 0
		}
		if r.IntN(6) == 0 {
			f.Instances = &Instances{Unknown: errDown}
		}
	}
	if r.IntN(5) > 0 {
		f.Backups = pick(r, some, none, &Backups{Unknown: errDown})
	}
	return f
}

func drawRecord(r *rand.Rand) *Lineage {
	l := cluster(1 + r.IntN(3))
	for _, name := range []string{"a", "b", "c", "d", "e"}[:1+r.IntN(5)] {
		m := Member{Name: name, Instance: pick(r, "i-"+name, "i-"+name, "i-a", "i-d"), PeerURL: name, Learner: r.IntN(4) == 0}
		if r.IntN(5) == 0 {
			m.Lost = "disk"
		}
		if r.IntN(3) == 0 {
			m.Position = at(uint64(1+r.IntN(2)), uint64(r.IntN(3)))
		}
		l.Members = append(l.Members, m)
	}
	l.State = pick(r, Running, Running, Running, Creating, Restoring, Rescuing)
	l.Holder.Instance = pick(r, "i-a", "i-b", "i-d")
	if l.State != Running {
		if l.State == Rescuing {
			l.Former, l.FormerGeneration = l.Members, l.Generation
			l.Generation++
		}
		l.Members = l.Members[:1]
	}
	if r.IntN(3) == 0 {
		l.Change = &Change{Kind: pick(r, Add, Remove, Promote), Member: pick(r, "a", "b", "c"), Instance: pick(r, "i-a", "i-b", "i-d")}
		if l.Change.Kind == Remove && r.IntN(4) == 0 {
			l.Change.Also = []string{pick(r, "a", "b", "c", "d")}
		}
	}
	return l
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// No facts lead to an answer that could fork the cluster or begin it empty. The rules are said here once more, in other words
// than the table's, and without its helpers.
func TestDecideNeverForks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[string]int{}
	for range 400_000 {
		f := draw(r)
		action := Decide(f)
		seen[action.Row]++
		if err := harm(f, action); err != nil {
			t.Fatalf("%v\nrow %q, verdict %q, facts %s", err, action.Row, action.Verdict, text(f))
		}
	}
	for _, name := range Rows() {
		if seen[name] == 0 {
			t.Errorf("row %q was never drawn", name)
		}
	}
}

func harm(f Facts, action Action) error {
	marker := f.Found.Marker
	switch action.Verdict {
	case Look:
		if action.Need == "" {
			return fmt.Errorf("looks for nothing")
		}
	case Create:
		if f.Record != nil || f.RecordUnknown != nil || f.Found.State != datadir.Empty || marker != nil || f.Trace == nil || f.Trace.Found || f.Trace.Unknown != nil {
			return fmt.Errorf("creates although something speaks against it")
		}
	case Begin, TakeOver:
		if f.Record == nil || f.Record.State != Creating || f.Found.State != datadir.Empty {
			return fmt.Errorf("begins a cluster that may have lived")
		}
	case Start:
		return harmfulStart(f)
	case Restore:
		if f.Record == nil || f.Found.State != datadir.Empty {
			return fmt.Errorf("restores over data, or without a record")
		}
		if f.Record.State == Running && possible(f, f.Record, dead) {
			return fmt.Errorf("restores although a quorum could form")
		}
		for _, m := range f.Record.Members {
			if f.Record.State == Running && mayVote(f.Record, m) && !dead(f, m) {
				return fmt.Errorf("restores although the voter %s may live", m.Name)
			}
		}
	case Rescue:
		stopped := func(f Facts, m Member) bool { return m.Position != nil || dead(f, m) }
		if f.Record.State == Running && (possible(f, f.Record, stopped) || f.Found.State != datadir.Sound) {
			return fmt.Errorf("rescues although a quorum could form without those that said how far their logs go, or from nothing")
		}
	case Halt:
		if f.Found.State != datadir.Busy {
			return fmt.Errorf("halts what does not run")
		}
	case Claim, Position, SetAside:
		if f.Found.State == datadir.Busy || f.Found.State == datadir.Empty {
			return fmt.Errorf("%s of data that is not there, or that etcd runs on", action.Verdict)
		}
	}
	if f.RecordUnknown != nil && action.Verdict != Start && action.Verdict != Wait {
		return fmt.Errorf("acts although the record is unknown")
	}
	return nil
}

func harmfulStart(f Facts) error {
	marker := f.Found.Marker
	switch {
	case marker == nil || f.Found.State == datadir.Empty || f.Found.State == datadir.Torn:
		return fmt.Errorf("starts what is not there, torn or unmarked")
	case f.RecordUnknown != nil && (marker.Instance != f.Self || f.Reported):
		return fmt.Errorf("starts, without the record, data that came from elsewhere or was said to be lost")
	case f.Record == nil || f.Found.State == datadir.Busy && marker.Generation > f.Record.Generation:
		return nil // it runs, and runs on
	case marker.UID != f.Record.UID || marker.Generation != f.Record.Generation:
		return fmt.Errorf("starts data of another generation")
	}
	for _, m := range f.Record.Members {
		if m.Name == marker.Member {
			if m.Instance != f.Self || m.Lost != "" || f.Found.State == datadir.Sound && m.Position != nil && f.Record.State == Running {
				return fmt.Errorf("starts a member that is elsewhere, lost, or has said how far its log goes")
			}
			return nil
		}
	}
	return fmt.Errorf("starts data of a member that is listed no longer")
}

func dead(f Facts, m Member) bool {
	if m.Instance == f.Self {
		return m.Lost != "" || f.Found.State == datadir.Empty || f.Found.State == datadir.Torn
	}
	return m.Lost != "" || f.Instances != nil && f.Instances.Gone[m.Instance]
}

func mayVote(l *Lineage, m Member) bool {
	return !m.Learner || l.Change != nil && l.Change.Kind == Promote && targeted(l, m)
}

func targeted(l *Lineage, m Member) bool {
	return l.Change != nil && (l.Change.Member == m.Name || slices.Contains(l.Change.Also, m.Name))
}

// possible tells whether some set of voters that etcd can have has a majority that is not out: everyone who may vote, and,
// with a change under way, everyone but its targets.
func possible(f Facts, l *Lineage, out func(Facts, Member) bool) bool {
	for _, without := range []bool{false, true} {
		voters, alive := 0, 0
		for _, m := range l.Members {
			if !mayVote(l, m) || without && l.Change.Kind != Add && targeted(l, m) {
				continue
			}
			voters++
			if !out(f, m) {
				alive++
			}
		}
		if alive*2 > voters {
			return true
		}
		if l.Change == nil {
			break
		}
	}
	return false
}

func text(f Facts) string {
	return fmt.Sprintf("found %+v marker %+v\nrecord %+v change %+v unknown %v\ntrace %+v quorum %+v instances %+v backups %+v",
		f.Found, f.Found.Marker, f.Record, changeOf(f.Record), f.RecordUnknown, f.Trace, f.Quorum, f.Instances, f.Backups)
}

func changeOf(l *Lineage) *Change {
	if l == nil {
		return nil
	}
	return l.Change
}
