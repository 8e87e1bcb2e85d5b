package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/store"
)

// ByOperator is what Member.Lost says when a person said so.
const ByOperator = "operator"

// MarkLost is the record with members, by name or instance, marked as lost for good, and the names of those that were not
// before. None marked anew is an error.
func MarkLost(record *Lineage, lost []string, all bool) (*Lineage, []string, error) {
	next := record.clone()
	var marked []string
	unknown := slices.Clone(lost)
	for _, list := range [][]Member{next.Members, next.Former} {
		for i := range list {
			m := &list[i]
			said := slices.Contains(lost, m.Name) || slices.Contains(lost, m.Instance)
			unknown = slices.DeleteFunc(unknown, func(s string) bool { return s == m.Name || s == m.Instance })
			if !said && !all || m.Lost != "" {
				continue
			}
			m.Lost, m.Position = ByOperator, nil
			if !slices.Contains(marked, m.Name) {
				marked = append(marked, m.Name)
			}
		}
	}
	switch {
	case len(unknown) > 0:
		return nil, nil, fmt.Errorf("the lineage has no member %s: it has %s", strings.Join(unknown, ", "), names(record.Everyone()))
	case len(marked) == 0:
		return nil, nil, errors.New("nothing to write: those members are marked as lost already")
	}
	return next, marked, nil
}

func names(members []Member) string {
	var all []string
	for _, m := range members {
		all = append(all, m.Name)
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// Swap writes a record that an operator decided on, if the one in the store is still the one that was looked at; else
// store.ErrConflict. Whose turn it is stays as it was: nobody waits for an instance that does not exist.
func (o *Operator) Swap(ctx context.Context, record *Lineage, was store.Version) error {
	return o.keeper(record.Holder.Instance).swap(ctx, o.Cluster, record, was)
}

// Prospect is what masters will come to.
type Prospect string

// The prospects.
const (
	GoesOn   Prospect = "goes on"  // those that are left are a majority
	Rescued  Prospect = "rescued"  // the most advanced of those that are left makes a new generation of its data
	Restored Prospect = "restored" // a master makes a new generation from a backup
	Begun    Prospect = "begun"    // the cluster had never served: it is created again
	Stuck    Prospect = "stuck"    // nobody can do anything
)

// Step is what one master will decide.
type Step struct {
	Who    string
	Action Action
}

// Outlook is what will follow from a record.
type Outlook struct {
	Prospect Prospect
	Steps    []Step
}

// Foresee asks the decision table itself what masters will do about a record: each member that is left, with its data, and
// a master without any. gone tells which instances EC2 calls gone; answers, that a quorum answered just now, which goes on only with
// a majority.
func Foresee(record *Lineage, gone map[string]bool, answers bool, backups []backup.Entry) Outlook {
	left := !record.lostQuorum(func(m Member) bool { return m.Lost != "" || gone[m.Instance] })
	base := Facts{
		Record: record, Quorum: &Quorum{Reachable: answers && left, Why: "as is assumed here"}, Backups: &Backups{Entries: backups},
		Instances: &Instances{Gone: gone, Stopped: map[string]bool{}},
	}
	var o Outlook
	for _, m := range record.Everyone() {
		if m.Lost != "" || gone[m.Instance] {
			continue
		}
		generation := record.Generation
		if record.named(m.Name) == nil {
			generation = record.FormerGeneration
		}
		facts := base
		facts.Self = m.Instance
		facts.Found = datadir.Found{State: datadir.Sound, Marker: &datadir.Marker{
			UID: record.UID, Generation: generation, Member: m.Name, Token: tokenOf(record.UID, generation), Instance: m.Instance,
		}}
		o.Steps = append(o.Steps, Step{Who: m.On() + ", with its data", Action: Decide(facts)})
	}
	facts := base
	facts.Self, facts.Found = "a new master", datadir.Found{State: datadir.Empty}
	o.Steps = append(o.Steps, Step{Who: "a master without data", Action: Decide(facts)})
	o.Prospect = prospect(o.Steps)
	return o
}

// prospect sums up what masters will do; the last step is that of one without data.
func prospect(steps []Step) Prospect {
	empty := steps[len(steps)-1].Action.Verdict
	came := Stuck
	switch empty {
	case Restore:
		came = Restored
	case TakeOver:
		came = Begun
	}
	for _, s := range steps[:len(steps)-1] {
		switch s.Action.Verdict {
		case Position, Rescue:
			return Rescued
		case Start, Claim:
			came = GoesOn
		case Wait:
			if came == Stuck && slices.Contains([]string{"wait survivors", "wait rescue"}, s.Action.Row) {
				came = Rescued
			}
		}
	}
	return came
}

const risen = "Revisions rise by a billion, so that watches break and clients list anew."

// Cost says what is lost with a prospect. reach is of the newest backup, nil without one.
func (o Outlook) Cost(now time.Time, reach *Reach) []string {
	switch o.Prospect {
	case GoesOn:
		return []string{
			"Those that are left are a majority: as soon as they run, the cluster serves again with everything that it acknowledged.",
			"The members marked as lost are removed from etcd, and masters without data join in their place.",
		}
	case Rescued:
		lines := []string{
			"Those that are left are no majority. Each stops its etcd and says how far its log goes; the farthest one makes a new",
			"generation of its own data, and the others join it anew. Lost: what a majority acknowledged and none of those left heard of.",
		}
		if reach != nil {
			lines = append(lines, fmt.Sprintf("If backup %s reaches farther than that data (revision %d, %s), it is restored instead.",
				reach.Backup, reach.Revision, Age(now, reach.Until)))
		}
		return append(lines, risen)
	case Restored:
		if reach == nil {
			return nil
		}
		return []string{
			fmt.Sprintf("Nobody is left who has data. The first master without data restores backup %s with %s,", reach.Backup, Count(reach.Deltas, "delta")),
			fmt.Sprintf("up to revision %d. Lost: everything after that; the last of it was stored at %s, %s.",
				reach.Revision, reach.Until.UTC().Format(time.RFC3339), Age(now, reach.Until)),
			risen,
		}
	case Begun:
		return []string{"The cluster had never served. A master without data creates it again: it begins empty."}
	}
	return []string{"Nobody could go on from there: the masters would wait, or stop."}
}

// Objection is a reason not to mark members as lost.
type Objection struct{ Why, Remedy string }

// Objections are the reasons against a record with members marked as lost. states are EC2's by instance; answers tells
// that a quorum answered.
func Objections(next *Lineage, marked []string, states map[string]string, answers bool, outlook Outlook) []Objection {
	var all []Objection
	if answers {
		all = append(all, Objection{"a quorum of etcd answers: the cluster lives, and replaces a member by itself once its instance is terminated",
			"terminate the instance: the next master takes its place"})
	}
	var alive, ids []string
	for _, m := range next.Everyone() {
		state := states[m.Instance]
		if slices.Contains(marked, m.Name) && slices.Contains([]string{"pending", "running", "stopping", "shutting-down"}, state) {
			alive, ids = append(alive, m.Instance+" is "+state), append(ids, m.Instance)
		}
	}
	if len(alive) > 0 {
		all = append(all, Objection{
			fmt.Sprintf("EC2 says that %s: an etcd that still runs there, out of our sight, could go on as a second cluster", strings.Join(alive, ", ")),
			"terminate, or at least stop: aws ec2 terminate-instances --instance-ids " + strings.Join(ids, " "),
		})
	}
	if outlook.Prospect == Stuck {
		why, remedy := "no master could go on from there", "bring a member's volume back"
		for _, s := range outlook.Steps {
			if s.Action.Verdict == Stop {
				why, remedy = why+": "+s.Action.Why, s.Action.Hint
			}
		}
		all = append(all, Objection{why, remedy})
	}
	return all
}
