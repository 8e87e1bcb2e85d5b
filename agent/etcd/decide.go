package etcd

import "fmt"

// Facts are what was observed of one etcd cluster at one moment.
type Facts struct {
	Self   string  // this instance's id
	Data   bool    // the data directory holds a member
	Marker *Marker // nil when there is none

	// Record is the lineage; with RecordUnknown nobody could say whether there is one.
	Record        *Lineage
	RecordUnknown error
	// Backups says that at least one backup exists; with BackupsUnknown the listing did not succeed.
	Backups        bool
	BackupsUnknown error
}

// Verdict is what may be done.
type Verdict string

// The verdicts.
const (
	Start  Verdict = "start"  // start the member from its own data, state existing
	Create Verdict = "create" // create the cluster: compare-and-swap the record first
	Resume Verdict = "resume" // go on with a creation that this instance began
	Wait   Verdict = "wait"   // look again until the deadline
	Stop   Verdict = "stop"   // only the operator can say
)

// Action is a verdict, why, and what the operator can do about it.
type Action struct {
	Verdict Verdict
	Why     string
	Hint    string
}

// Decide says what may be done. It is pure, and total: every combination of facts has a row here, and only one of them
// creates a cluster.
func Decide(f Facts) Action {
	switch {
	case f.Data && f.Marker == nil:
		return Action{Stop, "the data directory holds a member of which nothing says where it belongs",
			"if it is the cluster's data, run `rekindle` of a version that can adopt it; otherwise move it away"}
	case f.Data:
		return withData(f)
	case f.RecordUnknown != nil:
		return Action{Wait, fmt.Sprintf("the lineage cannot be read: %v", f.RecordUnknown),
			"allow s3:GetObject and s3:ListBucket on the store; without ListBucket S3 answers 403 for what does not exist"}
	case f.Record != nil:
		return withoutData(f)
	case f.Marker != nil:
		return Action{Stop, fmt.Sprintf("this node was a member of lineage %s, whose record is gone and whose data is gone",
			f.Marker.UID), "restore etcd/*/lineage.json in the store from its bucket's older versions"}
	case f.BackupsUnknown != nil:
		return Action{Wait, fmt.Sprintf("the backups cannot be listed: %v", f.BackupsUnknown),
			"allow s3:ListBucket on the store"}
	case f.Backups:
		return Action{Stop, "there is no lineage, but there are backups: a cluster has lived here",
			"restore etcd/*/lineage.json from the bucket's older versions, or move the backups to another prefix to begin anew"}
	default:
		return Action{Verdict: Create, Why: "no data, no lineage, no backup: this cluster is new"}
	}
}

func withData(f Facts) Action {
	switch {
	case f.RecordUnknown != nil:
		return Action{Verdict: Start, Why: fmt.Sprintf("own data of generation %d; the lineage cannot be read (%v)",
			f.Marker.Generation, f.RecordUnknown)}
	case f.Record == nil:
		return Action{Stop, fmt.Sprintf("own data of lineage %s, but the store has no record of it", f.Marker.UID),
			"restore etcd/*/lineage.json in the store from its bucket's older versions; check that the store is the right one"}
	case f.Marker.of(f.Record):
		return Action{Verdict: Start, Why: fmt.Sprintf("own data of generation %d", f.Marker.Generation)}
	default:
		return Action{Stop, fmt.Sprintf("own data is of lineage %s generation %d, the cluster's is %s generation %d",
			f.Marker.UID, f.Marker.Generation, f.Record.UID, f.Record.Generation),
			"the data is left as it is; move it away to let this node start empty"}
	}
}

func withoutData(f Facts) Action {
	if f.Record.State == Creating && f.Record.Holder.Instance == f.Self {
		return Action{Verdict: Resume, Why: "this instance began to create the cluster"}
	}
	if f.Record.State == Creating {
		return Action{Wait, fmt.Sprintf("%s is creating the cluster", f.Record.Holder.Instance),
			"if that instance is gone for good and the cluster never served, remove etcd/*/lineage.json by hand"}
	}
	return Action{Stop, fmt.Sprintf("the cluster runs in generation %d (%s) and this node has none of its data",
		f.Record.Generation, f.Record.UID), "this version neither joins nor restores a cluster: bring the member's volume back"}
}
