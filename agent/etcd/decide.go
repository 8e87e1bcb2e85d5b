package etcd

import (
	"fmt"

	"rekindle/agent/etcd/datadir"
)

// Verdict is the one step that may be done now.
type Verdict string

// The verdicts.
const (
	Look     Verdict = "look"      // a fact is missing: Action.Need
	Start    Verdict = "start"     // start the member from its own data, state existing, or leave it running
	Create   Verdict = "create"    // swap in the first record
	Begin    Verdict = "begin"     // start the first member, state new
	Join     Verdict = "join"      // become a member of the living cluster
	Claim    Verdict = "claim"     // swap: this data is on this instance, and not lost
	Report   Verdict = "report"    // swap: this instance's data is lost
	Position Verdict = "position"  // swap: how far this data goes
	TakeOver Verdict = "take over" // swap: the next generation, in the place of a holder that is gone
	Restore  Verdict = "restore"   // swap, unless it is done: the next generation, from a backup; then restore
	Rescue   Verdict = "rescue"    // swap, unless it is done: the next generation, from this data; then make it so
	SetAside Verdict = "set aside" // this data may not be started: put it beside
	Halt     Verdict = "halt"      // stop etcd at once
	Wait     Verdict = "wait"      // look again until the deadline
	Stop     Verdict = "stop"      // only the operator can say
)

// Action is a verdict, by which row of the table, why, and what the operator can do about it.
type Action struct {
	Verdict Verdict
	Row     string
	Why     string
	Hint    string
	Need    Need
}

// Row is one line of the decision table. The first row that holds is the answer.
type Row struct {
	Name string
	Then Verdict
	When func(s *sight) bool
	Why  func(s *sight) string
	Hint string
}

// Decide says what may be done. It is pure, and total: every combination of facts has a row.
func Decide(f Facts) Action {
	s := &sight{Facts: f}
	for _, row := range rows {
		holds := row.When(s)
		if s.missing != "" {
			return Action{Verdict: Look, Row: row.Name, Need: s.missing}
		}
		if holds {
			return Action{Verdict: row.Then, Row: row.Name, Why: row.Why(s), Hint: row.Hint}
		}
	}
	return Action{Verdict: Stop, Row: "none", Why: "no rule fits what was observed", Hint: "report this with the agent's log"}
}

// Rows are the names of the decision table's rows, in order.
func Rows() []string {
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row.Name
	}
	return names
}

const (
	hintRead   = "allow s3:GetObject and s3:ListBucket on the store; without ListBucket S3 answers 403 for what does not exist"
	hintAdopt  = "restore etcd/*/lineage.json from the bucket's older versions, or say what is true with `rekindle etcd adopt`"
	hintVoters = "start the instances that are stopped; if one is lost for good, terminate it, or run `rekindle etcd recover`"
	hintBackup = "bring a member's volume back, or put a backup under etcd/*/backups; then run `rekindle etcd recover`"
)

var rows = []Row{
	// Nobody could say what the record is.
	{"start unknown", Start, func(s *sight) bool {
		return s.RecordUnknown != nil && (s.is(datadir.Sound) || s.is(datadir.Busy)) && s.marked() && s.Found.Marker.Instance == s.Self && !s.Reported
	}, func(s *sight) string {
		return fmt.Sprintf("own data of generation %d; the lineage cannot be read (%v)", s.Found.Marker.Generation, s.RecordUnknown)
	}, ""},
	{"unknown", Wait, func(s *sight) bool { return s.RecordUnknown != nil },
		func(s *sight) string { return fmt.Sprintf("the lineage cannot be read: %v", s.RecordUnknown) }, hintRead},

	// There is no record.
	{"run without record", Start, func(s *sight) bool { return s.Record == nil && s.is(datadir.Busy) && s.marked() },
		why("the lineage is gone from the store; etcd runs on"), hintAdopt},
	{"adopt data", Stop, func(s *sight) bool { return s.Record == nil && (!s.is(datadir.Empty) || s.marked()) },
		why("this node was a member of a cluster, and the store has no lineage"), hintAdopt},
	{"unknown trace", Wait, func(s *sight) bool { return s.Record == nil && s.trace().Unknown != nil }, func(s *sight) string {
		return fmt.Sprintf("whether a cluster has lived here cannot be told: %v", s.Trace.Unknown)
	}, "allow s3:ListBucket and s3:ListBucketVersions on the store"},
	{"adopt", Stop, func(s *sight) bool { return s.Record == nil && s.trace().Found },
		why("there is no lineage, but there are backups, or older versions of one: a cluster has lived here"), hintAdopt},
	{"create", Create, func(s *sight) bool { return s.Record == nil }, why("no data, no lineage, no backup: this cluster is new"), ""},

	// The record is there, and the data is not of it.
	{"unmarked", Stop, func(s *sight) bool { return !s.is(datadir.Empty) && !s.marked() },
		why("the data directory holds a member of which nothing says where it belongs"),
		"`rekindle etcd adopt` if it is the cluster's data; otherwise move it away"},
	{"halt foreign", Halt, func(s *sight) bool { return s.is(datadir.Busy) && s.Found.Marker.UID != s.Record.UID },
		func(s *sight) string { return s.mismatch() }, ""},
	{"foreign", Stop, func(s *sight) bool { return !s.is(datadir.Empty) && s.Found.Marker.UID != s.Record.UID },
		func(s *sight) string { return s.mismatch() },
		"check that the store is the right one; the data is left as it is: move it away to let this node start empty"},
	{"run beside older record", Start, func(s *sight) bool { return s.is(datadir.Busy) && s.Found.Marker.Generation > s.Record.Generation },
		func(s *sight) string { return s.mismatch() }, hintAdopt},
	{"older record", Stop, func(s *sight) bool {
		return !s.is(datadir.Empty) && s.Found.Marker.Generation > s.Record.Generation
	}, func(s *sight) string { return s.mismatch() }, "restore the newest version of etcd/*/lineage.json in the store"},

	// etcd runs here.
	{"halt superseded", Halt, func(s *sight) bool { return s.is(datadir.Busy) && (s.older() || !s.here() || s.me().Lost != "") },
		func(s *sight) string { return "etcd runs on data that the lineage no longer has here: " + s.mismatch() }, ""},
	{"halt leaderless", Halt, func(s *sight) bool {
		return s.is(datadir.Busy) && s.Leaderless && s.Record.State == Running && s.others() && !s.reachable() && s.lost() && s.rescues()
	}, why("no leader, and a majority of the voters is gone for good"), ""},
	{"running", Start, func(s *sight) bool { return s.is(datadir.Busy) }, why("etcd runs"), ""},

	// A rescue that this instance began, wherever it was cut.
	{"resume rescue", Rescue, func(s *sight) bool {
		return s.Record.State == Rescuing && s.holds() && !s.current() && !s.is(datadir.Torn) && !(s.is(datadir.Sound) && s.Reported)
	},
		why("this instance began to rescue the cluster"), ""},
	{"moved rescuer", Claim, func(s *sight) bool { return s.rescuer() }, func(s *sight) string {
		return fmt.Sprintf("the data with which %s began to rescue the cluster is here, and good", s.me().Instance)
	}, ""},
	{"set aside torn", SetAside, func(s *sight) bool { return s.is(datadir.Torn) },
		func(s *sight) string { return "own data is torn: " + s.Found.Why }, ""},

	// Sound data of an older generation.
	{"rescue after rescuer", Rescue, func(s *sight) bool { return s.former() && s.holderGone() && s.best(s.Record.Former) },
		why("who rescued the cluster is gone, and of its other survivors this one's log goes farthest"), ""},
	{"wait rescue", Wait, func(s *sight) bool {
		return s.survivor() != nil && (!s.former() || !s.holderGone() || s.anyLeft(s.Record.Former))
	},
		func(s *sight) string {
			return s.Record.Holder.Instance + " rescues the cluster, or one whose log goes farther"
		}, hintVoters},
	{"set aside older", SetAside, func(s *sight) bool { return s.is(datadir.Sound) && s.older() },
		func(s *sight) string { return s.mismatch() }, ""},

	// Sound data of this generation.
	{"set aside removed", SetAside, func(s *sight) bool { return s.is(datadir.Sound) && s.removed() }, func(s *sight) string {
		return fmt.Sprintf("%s is a member no longer, or on its way out", s.Found.Marker.Member)
	}, ""},
	{"moved volume", Claim, func(s *sight) bool { return s.is(datadir.Sound) && !s.here() && s.left(*s.me()) }, func(s *sight) string {
		return fmt.Sprintf("the data of %s came here from %s", s.me().Name, s.me().Instance)
	}, ""},
	{"wait old instance", Wait, func(s *sight) bool { return s.is(datadir.Sound) && !s.here() }, func(s *sight) string {
		return fmt.Sprintf("the data of %s is here, but %s, which ran it, may still live", s.me().Name, s.me().Instance)
	}, "stop or terminate that instance"},
	{"found again", Claim, func(s *sight) bool { return s.is(datadir.Sound) && s.me().Lost != "" },
		why("the data that was reported lost is here"), ""},
	{"taken back", Claim, func(s *sight) bool {
		return s.is(datadir.Sound) && (s.me().Position != nil || s.Reported) && (s.Record.State != Running || s.forms())
	}, why("this node said that its data was gone, or that the quorum was; neither holds now"), ""},
	{"resume", Start, func(s *sight) bool { return s.is(datadir.Sound) && s.Record.State != Running }, func(s *sight) string {
		return "own data of a cluster that is " + s.Record.State
	}, ""},
	{"start", Start, func(s *sight) bool { return s.is(datadir.Sound) && s.forms() },
		func(s *sight) string { return fmt.Sprintf("own data of generation %d", s.Found.Marker.Generation) }, ""},
	{"wait voters", Wait, func(s *sight) bool { return s.is(datadir.Sound) && !s.rescues() },
		why("a majority of the voters is gone: those that are left rescue the cluster"), hintVoters},
	{"position", Position, func(s *sight) bool { return s.is(datadir.Sound) && s.me().Position == nil },
		why("a majority of the voters is gone for good: the others say how far their logs go"), ""},
	{"rescue", Rescue, func(s *sight) bool { return s.is(datadir.Sound) && s.best(s.Record.rescuers(s.gone)) },
		why("a majority of the voters is gone for good, and of those left this one's log goes farthest"), ""},
	{"wait survivors", Wait, func(s *sight) bool { return s.is(datadir.Sound) },
		func(s *sight) string { return "another survivor rescues the cluster: " + s.survivors() }, hintVoters},

	// No data here.
	{"begin", Begin, func(s *sight) bool { return s.Record.State == Creating && s.holds() && s.fresh() },
		why("this instance began to create the cluster"), ""},
	{"resume restore", Restore, func(s *sight) bool { return s.Record.State == Restoring && s.holds() && s.fresh() },
		func(s *sight) string { return "this instance began to restore " + s.Record.Backup }, ""},
	{"wait holder", Wait, func(s *sight) bool { return s.Record.State != Running && !s.holds() && !s.holderGone() }, func(s *sight) string {
		return fmt.Sprintf("%s is %s the cluster", s.Record.Holder.Instance, s.Record.State)
	}, "if that instance is lost for good, terminate it"},
	{"lost former", Report, func(s *sight) bool { return s.Record.State == Rescuing && !s.holds() && s.formerHere() != nil },
		why("who rescued the cluster is gone, and the data that was here is, too"), ""},
	{"wait former", Wait, func(s *sight) bool { return s.Record.State == Rescuing && !s.holds() && s.anyLeft(s.Record.Former) },
		why("who rescued the cluster is gone; another survivor takes its place"), hintVoters},
	{"create again", TakeOver, func(s *sight) bool { return s.Record.State == Creating },
		func(s *sight) string {
			return s.Record.Holder.Instance + " began to create the cluster, and is gone, or its disk is"
		}, ""},
	{"resume join", Join, func(s *sight) bool { return s.Record.State == Running && s.adding() && s.reachable() },
		why("this instance began to join"), ""},
	{"lost disk", Report, func(s *sight) bool {
		m := s.Record.on(s.Self)
		return s.Record.State == Running && m != nil && m.Lost == "" && !s.adding()
	}, why("the cluster has a member on this instance, and its data is not here"), ""},
	{"join", Join, func(s *sight) bool { return s.Record.State == Running && len(s.Record.Members) > 0 && s.reachable() }, why("the cluster has a quorum"), ""},
	{"wait quorum", Wait, func(s *sight) bool { return s.Record.State == Running && s.anyLeft(s.Record.Members) },
		func(s *sight) string {
			return fmt.Sprintf("no quorum answers (%s), and not everyone is gone: %s", s.unheard(), s.survivors())
		}, hintVoters},
	{"unknown backups", Wait, func(s *sight) bool { return s.backups().Unknown != nil }, func(s *sight) string {
		return fmt.Sprintf("the backups cannot be listed: %v", s.Backups.Unknown)
	}, hintRead},
	{"no backup", Stop, func(s *sight) bool { return len(s.backups().Entries) == 0 },
		why("every member is gone, and there is no backup"), hintBackup},
	{"take over", Restore, func(s *sight) bool { return s.Record.State != Running }, func(s *sight) string {
		return fmt.Sprintf("%s was %s the cluster, and is gone, or its disk is", s.Record.Holder.Instance, s.Record.State)
	}, ""},
	{"restore", Restore, func(*sight) bool { return true }, func(s *sight) string {
		return fmt.Sprintf("every member is gone; the newest backup is %s", s.Backups.Entries[0].ID)
	}, ""},
}

func why(text string) func(*sight) string { return func(*sight) string { return text } }
