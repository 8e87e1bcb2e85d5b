package etcd

import (
	"errors"
	"slices"
	"testing"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
)

var errDown = errors.New("503")

// cluster is a record of a running cluster: member "a" is on i-a, and so on.
func cluster(generation int, names ...string) *Lineage {
	r := &Lineage{UID: "u", Generation: generation, State: Running, Token: tokenOf("u", generation), Holder: Holder{Instance: "i-a", Nonce: "n"}}
	for _, name := range names {
		r.Members = append(r.Members, Member{Name: name, Instance: "i-" + name, PeerURL: "https://" + name, ClientURL: "https://" + name})
	}
	return r
}

func with(r *Lineage, edit func(*Lineage)) *Lineage {
	edit(r)
	return r
}

func data(state datadir.State, member string, generation int) datadir.Found {
	return datadir.Found{State: state, Position: datadir.Position{Term: 3, Index: 30}, Marker: &datadir.Marker{
		UID: "u", Generation: generation, Member: member, Token: tokenOf("u", generation), Instance: "i-" + member,
	}}
}

func fresh(member string, generation int) datadir.Found {
	f := data(datadir.Empty, member, generation)
	f.Marker.Fresh, f.Position = true, datadir.Position{}
	return f
}

func gone(ids ...string) *Instances {
	all := &Instances{Gone: map[string]bool{}, Stopped: map[string]bool{}}
	for _, id := range ids {
		all.Gone[id] = true
	}
	return all
}

func at(term, index uint64) *datadir.Position { return &datadir.Position{Term: term, Index: index} }

var (
	empty   = datadir.Found{State: datadir.Empty}
	noTrace = &Trace{}
	silent  = &Quorum{}
	answers = &Quorum{Reachable: true}
	some    = &Backups{Entries: []backup.Entry{{ID: "1/x-5"}}}
	none    = &Backups{}
)

type decision struct {
	row   string
	want  Verdict
	facts Facts
}

// Every row of the table, on i-a unless said otherwise.
var decisions = []decision{
	{"start unknown", Start, Facts{RecordUnknown: errDown, Found: data(datadir.Sound, "a", 1)}},
	{"unknown", Wait, Facts{RecordUnknown: errDown, Found: empty}},
	{"unknown", Wait, Facts{RecordUnknown: errDown, Found: data(datadir.Sound, "b", 1)}},                 // a volume that came here
	{"unknown", Wait, Facts{RecordUnknown: errDown, Found: data(datadir.Sound, "a", 1), Reported: true}}, // said to be lost
	{"unknown", Wait, Facts{RecordUnknown: errDown, Found: data(datadir.Torn, "a", 1)}},
	{"run without record", Start, Facts{Found: data(datadir.Busy, "a", 1)}},
	{"adopt data", Stop, Facts{Found: data(datadir.Sound, "a", 1)}},
	{"adopt data", Stop, Facts{Found: datadir.Found{State: datadir.Sound}}},
	{"adopt data", Stop, Facts{Found: fresh("a", 1)}},
	{"unknown trace", Wait, Facts{Found: empty, Trace: &Trace{Unknown: errDown}}},
	{"adopt", Stop, Facts{Found: empty, Trace: &Trace{Found: true}}},
	{"create", Create, Facts{Found: empty, Trace: noTrace}},
	{"unmarked", Stop, Facts{Record: cluster(1, "a"), Found: datadir.Found{State: datadir.Sound}}},
	{"halt foreign", Halt, Facts{Record: with(cluster(1, "a"), func(r *Lineage) { r.UID = "v" }), Found: data(datadir.Busy, "a", 1)}},
	{"foreign", Stop, Facts{Record: with(cluster(1, "a"), func(r *Lineage) { r.UID = "v" }), Found: data(datadir.Sound, "a", 1)}},
	{"run beside older record", Start, Facts{Record: cluster(1, "a"), Found: data(datadir.Busy, "a", 2)}},
	{"older record", Stop, Facts{Record: cluster(1, "a"), Found: data(datadir.Sound, "a", 2)}},

	{"halt superseded", Halt, Facts{Record: cluster(2, "b"), Found: data(datadir.Busy, "a", 1)}},
	{"halt superseded", Halt, Facts{Record: cluster(1, "b", "c"), Found: data(datadir.Busy, "a", 1)}},
	{"halt superseded", Halt, Facts{Record: with(cluster(1, "a"), func(r *Lineage) { r.Members[0].Instance = "i-z" }), Found: data(datadir.Busy, "a", 1)}},
	{"halt superseded", Halt, Facts{Record: with(cluster(1, "a"), func(r *Lineage) { r.Members[0].Lost = "operator" }), Found: data(datadir.Busy, "a", 1)}},
	{"halt leaderless", Halt, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Busy, "a", 1), Leaderless: true, Quorum: silent, Instances: gone("i-b", "i-c")}},
	{"running", Start, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Busy, "a", 1), Leaderless: true, Quorum: silent, Instances: gone("i-b")}},
	{"running", Start, Facts{Record: cluster(1, "a"), Found: data(datadir.Busy, "a", 1), Leaderless: true}},
	{"running", Start, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Busy, "a", 1)}},

	{"resume rescue", Rescue, Facts{Record: rescuing("a", cluster(1, "a", "b", "c")), Found: data(datadir.Sound, "a", 1)}},
	{"resume rescue", Rescue, Facts{Record: rescuing("a", cluster(1, "a", "b", "c")), Found: empty}},
	{"moved rescuer", Claim, Facts{Record: rescuing("b", survivors("a", "b")), Found: data(datadir.Sound, "b", 1), Instances: gone("i-b")}},
	{"moved rescuer", Claim, Facts{Record: with(rescuing("a", survivors("a", "b")), func(r *Lineage) { r.Members[0].Lost, r.Former[0].Lost = "disk", "disk" }), Found: data(datadir.Sound, "a", 1)}},
	{"moved rescuer", Claim, Facts{Record: rescuing("a", survivors("a", "b")), Found: data(datadir.Sound, "a", 1), Reported: true}},
	{"set aside torn", SetAside, Facts{Record: cluster(1, "a"), Found: data(datadir.Torn, "a", 1)}},
	{"set aside torn", SetAside, Facts{Record: rescuing("a", cluster(1, "a", "b", "c")), Found: data(datadir.Torn, "a", 1)}},
	{"rescue after rescuer", Rescue, Facts{Record: rescuing("b", survivors("a", "b")), Found: data(datadir.Sound, "a", 1), Instances: gone("i-b", "i-c", "i-d", "i-e")}},
	{"wait rescue", Wait, Facts{Record: rescuing("b", survivors("a", "b")), Found: data(datadir.Sound, "a", 1), Instances: gone("i-c", "i-d", "i-e")}},
	{"wait rescue", Wait, Facts{Record: rescuing("b", survivors("b", "c")), Found: data(datadir.Sound, "c", 1), Instances: gone("i-b", "i-d", "i-e")}}, // whose instance may still live
	{"rescue after rescuer", Rescue, Facts{Record: with(rescuing("b", survivors("b", "c")), without("a")), Found: data(datadir.Sound, "c", 1), Instances: gone("i-b", "i-c", "i-d", "i-e")}},
	{"set aside older", SetAside, Facts{Record: with(rescuing("b", survivors("a", "b")), func(r *Lineage) { r.Former[0].Lost = "disk" }), Found: data(datadir.Sound, "a", 1)}},
	{"set aside older", SetAside, Facts{Record: cluster(2, "b"), Found: data(datadir.Sound, "a", 1)}},

	{"set aside removed", SetAside, Facts{Record: cluster(1, "b", "c"), Found: data(datadir.Sound, "a", 1)}},
	// A removal is not called off: whose target was gone goes.
	{"set aside removed", SetAside, Facts{Record: with(cluster(1, "a", "b", "c"), func(r *Lineage) { r.Change = &Change{Kind: Remove, Member: "b", Instance: "i-c"} }), Found: data(datadir.Sound, "b", 1)}},
	{"set aside removed", SetAside, Facts{Record: with(cluster(1, "a", "b", "c"), func(r *Lineage) {
		r.Members[0].Lost, r.Change = "disk", &Change{Kind: Remove, Member: "b", Also: []string{"a"}, Instance: "i-c"}
	}), Found: data(datadir.Sound, "a", 1)}},
	{"moved volume", Claim, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "b", 1), Instances: gone("i-b")}},
	{"moved volume", Claim, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "b", 1), Instances: &Instances{Stopped: map[string]bool{"i-b": true}}}},
	{"wait old instance", Wait, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "b", 1), Instances: gone()}},
	{"wait old instance", Wait, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "b", 1), Instances: &Instances{Unknown: errDown}}},
	{"found again", Claim, Facts{Record: with(cluster(1, "a", "b"), func(r *Lineage) { r.Members[0].Lost = "disk" }), Found: data(datadir.Sound, "a", 1)}},
	{"resume", Start, Facts{Record: with(cluster(1, "a"), func(r *Lineage) { r.State = Restoring }), Found: data(datadir.Sound, "a", 1)}},
	{"taken back", Claim, Facts{Record: survivors("a"), Found: data(datadir.Sound, "a", 1), Quorum: answers}},
	{"taken back", Claim, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "a", 1), Reported: true, Quorum: answers}},
	{"taken back", Claim, Facts{Record: with(cluster(1, "a"), func(r *Lineage) { r.State = Restoring }), Found: data(datadir.Sound, "a", 1), Reported: true}},
	{"start", Start, Facts{Record: cluster(1, "a"), Found: data(datadir.Sound, "a", 1)}},
	{"start", Start, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "a", 1), Quorum: answers}},
	{"start", Start, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-b")}},
	{"start", Start, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: &Instances{Unknown: errDown}}},
	// While no voter is left, a learner may be all there is.
	{"position", Position, Facts{Record: with(cluster(1, "a", "b"), learner("a")), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-b")}},
	{"rescue", Rescue, Facts{Record: with(cluster(1, "a", "b"), func(r *Lineage) { learner("a")(r); r.Members[0].Position = at(3, 30) }), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-b")}},
	// Whether the learner that is being promoted votes is not known: without it the quorum is lost.
	{"position", Position, Facts{Record: with(cluster(1, "a", "b", "c"), func(r *Lineage) {
		learner("c")(r)
		r.Change = &Change{Kind: Promote, Member: "c", Instance: "i-c"}
	}), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-b")}},
	{"wait survivors", Wait, Facts{Record: with(survivors("a"), func(r *Lineage) {
		r.Members = r.Members[:3]
		learner("c")(r)
		r.Change = &Change{Kind: Promote, Member: "c", Instance: "i-c"}
	}), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-b")}},
	{"wait voters", Wait, Facts{Record: with(cluster(1, "a", "b", "c"), learner("a")), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-b")}},
	{"position", Position, Facts{Record: cluster(1, "a", "b", "c"), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-b", "i-c")}},
	{"rescue", Rescue, Facts{Record: survivors("a", "b"), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-c", "i-d", "i-e")}},
	{"wait survivors", Wait, Facts{Record: survivors("a"), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-c", "i-d", "i-e")}},
	{"wait survivors", Wait, Facts{Record: with(survivors("a", "b"), func(r *Lineage) { r.Members[1].Position = at(3, 31) }), Found: data(datadir.Sound, "a", 1), Quorum: silent, Instances: gone("i-c", "i-d", "i-e")}},

	{"begin", Begin, Facts{Record: with(cluster(1, "a"), func(r *Lineage) { r.State = Creating }), Found: fresh("a", 1)}},
	{"resume restore", Restore, Facts{Record: with(cluster(2, "a"), func(r *Lineage) { r.State = Restoring }), Found: fresh("a", 2)}},
	{"wait holder", Wait, Facts{Record: with(cluster(1, "b"), holder(Creating, "i-b")), Found: empty, Instances: gone()}},
	{"wait holder", Wait, Facts{Record: with(cluster(1, "b"), holder(Restoring, "i-b")), Found: empty, Instances: &Instances{Unknown: errDown}}},
	{"lost former", Report, Facts{Record: rescuing("b", survivors("a", "b")), Found: empty, Instances: gone("i-b")}},
	{"wait former", Wait, Facts{Record: with(rescuing("b", survivors("b", "c")), without("a")), Found: empty, Instances: gone("i-b", "i-d", "i-e")}},
	{"create again", TakeOver, Facts{Record: with(cluster(1, "b"), holder(Creating, "i-b")), Found: empty, Instances: gone("i-b")}},
	{"create again", TakeOver, Facts{Record: with(cluster(1, "a"), holder(Creating, "i-a")), Found: empty}},
	{"resume join", Join, Facts{Record: adding(), Found: empty, Quorum: answers}},
	// All voters died while this node was about to join: it restores, as anybody.
	{"restore", Restore, Facts{Record: adding(), Found: empty, Quorum: silent, Instances: gone("i-b"), Backups: some}},
	{"wait quorum", Wait, Facts{Record: adding(), Found: empty, Quorum: silent, Instances: gone()}},
	{"lost disk", Report, Facts{Record: cluster(1, "a", "b"), Found: empty}},
	{"join", Join, Facts{Record: cluster(1, "b", "c"), Found: empty, Quorum: answers}},
	{"wait quorum", Wait, Facts{Record: cluster(1, "b", "c"), Found: empty, Quorum: silent, Instances: gone("i-b")}},
	{"wait quorum", Wait, Facts{Record: cluster(1, "b", "c"), Found: empty, Quorum: silent, Instances: &Instances{Unknown: errDown}}},
	{"unknown backups", Wait, Facts{Record: cluster(1, "b"), Found: empty, Quorum: silent, Instances: gone("i-b"), Backups: &Backups{Unknown: errDown}}},
	{"no backup", Stop, Facts{Record: cluster(1, "b"), Found: empty, Quorum: silent, Instances: gone("i-b"), Backups: none}},
	{"take over", Restore, Facts{Record: with(cluster(2, "b"), holder(Restoring, "i-b")), Found: empty, Instances: gone("i-b"), Backups: some}},
	{"restore", Restore, Facts{Record: cluster(1, "b", "c"), Found: empty, Quorum: silent, Instances: gone("i-b", "i-c"), Backups: some}},
	{"restore", Restore, Facts{Record: cluster(1), Found: empty, Backups: some}}, // after `rekindle etcd adopt`
	// A promotion that is under way may have been made: the learner is a voter, too.
	{"wait quorum", Wait, Facts{Record: with(cluster(1, "b", "c"), func(r *Lineage) { learner("c")(r); r.Change = &Change{Kind: Promote, Member: "c", Instance: "i-c"} }), Found: empty, Quorum: silent, Instances: gone("i-b")}},
}

func holder(state, instance string) func(*Lineage) {
	return func(r *Lineage) { r.State, r.Holder.Instance = state, instance }
}

func learner(name string) func(*Lineage) { return func(r *Lineage) { r.named(name).Learner = true } }

// without takes a member out of those that were left when a rescue began.
func without(name string) func(*Lineage) {
	return func(r *Lineage) {
		r.Former = slices.DeleteFunc(slices.Clone(r.Former), func(m Member) bool { return m.Name == name })
	}
}

// adding is a cluster of b that a is about to join.
func adding() *Lineage {
	return with(cluster(1, "a", "b"), func(r *Lineage) { learner("a")(r); r.Change = &Change{Kind: Add, Member: "a", Instance: "i-a"} })
}

// survivors is a cluster of five, of which some have said how far their logs go: all as far.
func survivors(positioned ...string) *Lineage {
	r := cluster(1, "a", "b", "c", "d", "e")
	for _, name := range positioned {
		r.named(name).Position = at(3, 30)
	}
	return r
}

// rescuing is the record after a member of former began to rescue.
func rescuing(by string, former *Lineage) *Lineage {
	r := cluster(former.Generation+1, by)
	r.State, r.Holder.Instance, r.Former, r.FormerGeneration = Rescuing, "i-"+by, former.Members, former.Generation
	return r
}

func TestDecide(t *testing.T) {
	covered := map[string]bool{}
	for _, d := range decisions {
		d.facts.Self = "i-a"
		action := Decide(d.facts)
		covered[action.Row] = true
		if action.Row != d.row || action.Verdict != d.want {
			t.Errorf("%s: row %q, verdict %q, need %q; want verdict %q", d.row, action.Row, action.Verdict, action.Need, d.want)
		}
		if action.Why == "" || (action.Verdict == Stop || action.Verdict == Wait) && action.Hint == "" && action.Row != "wait rescue" {
			t.Errorf("%s: an operator learns nothing from %+v", d.row, action)
		}
	}
	for _, name := range Rows() {
		if !covered[name] {
			t.Errorf("row %q: no case reaches it", name)
		}
	}
}

// What was not asked for yet is asked for, and what is not needed is not.
func TestDecideAsks(t *testing.T) {
	for _, d := range decisions {
		full := d.facts
		full.Self = "i-a"
		asked := Facts{Self: full.Self, Found: full.Found, Reported: full.Reported, Leaderless: full.Leaderless,
			Record: full.Record, RecordUnknown: full.RecordUnknown, Stuck: full.Stuck}
		var needs []Need
		for {
			action := Decide(asked)
			if action.Verdict != Look {
				if action.Row != d.row {
					t.Errorf("%s: asked for %v and then took row %q", d.row, needs, action.Row)
				}
				break
			}
			if slices.Contains(needs, action.Need) {
				t.Fatalf("%s: %s asked for twice", d.row, action.Need)
			}
			needs = append(needs, action.Need)
			asked.Trace, asked.Quorum = or(action, NeedTrace, asked.Trace, full.Trace), or(action, NeedQuorum, asked.Quorum, full.Quorum)
			asked.Instances, asked.Backups = or(action, NeedInstances, asked.Instances, full.Instances), or(action, NeedBackups, asked.Backups, full.Backups)
		}
		if d.row == "running" && !full.Leaderless && len(needs) > 0 {
			t.Errorf("a member that runs well asks for %v", needs)
		}
	}
}

// or is the fact that was needed, as full has it; what the case leaves open is taken to be unknown.
func or[T any](action Action, need Need, asked, full *T) *T {
	switch {
	case action.Need != need:
		return asked
	case full == nil:
		return new(T)
	}
	return full
}
