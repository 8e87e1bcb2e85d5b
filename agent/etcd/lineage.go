// Package etcd decides which etcd data is the true one, and makes this node's member what it has to be.
//
// The truth is one record in the store, lineage.json, changed by compare-and-swap only; docs/lineage.md is the protocol.
// Decide is a pure function from what was observed to what may be done; a Keeper observes, has it decided, and does one step,
// again and again, until etcd's configuration file is known. Everything ambiguous means wait or stop, never create.
package etcd

import (
	"encoding/json"
	"fmt"
	"slices"

	"rekindle/agent/etcd/datadir"
)

// The states of a lineage.
const (
	Creating  = "creating"  // its holder may start the first member; nobody else may start anything
	Restoring = "restoring" // its holder makes the first member of a new generation from a backup
	Rescuing  = "rescuing"  // its holder makes the first member of a new generation from its own data
	Running   = "running"   // the cluster has served: whoever finds no data of it must never create
)

// Lineage is the record that says which etcd cluster is the true one.
type Lineage struct {
	UID        string   `json:"uid"`
	Generation int      `json:"generation"` // grows with every take-over, restore and rescue, from 1
	State      string   `json:"state"`
	Holder     Holder   `json:"holder"`
	Token      string   `json:"token"` // etcd's initial-cluster-token; holds the generation, so generations cannot merge
	Members    []Member `json:"members"`
	// Change is the one change of membership that is under way.
	Change *Change `json:"change,omitempty"`
	// Backup is what the generation was restored from.
	Backup string `json:"backup,omitempty"`
	// Former are the members of the generation before, while a rescue is under way: if its holder dies, another survivor
	// can still do it.
	Former           []Member `json:"former,omitempty"`
	FormerGeneration int      `json:"formerGeneration,omitempty"`
}

// Holder is who changed the record last. The nonce tells its own retried write from another's.
type Holder struct {
	Instance string `json:"instance"`
	Nonce    string `json:"nonce"`
}

// Member is a voter or learner of the cluster. The record is written ahead of etcd, so none is ever missing here.
type Member struct {
	Name      string `json:"name"`
	Instance  string `json:"instance"`
	Address   string `json:"address,omitempty"` // what the hosts block maps the URLs' name to
	PeerURL   string `json:"peerURL"`
	ClientURL string `json:"clientURL,omitempty"`
	Learner   bool   `json:"learner,omitempty"`
	// Lost says that its data is gone for good, and who said so: "disk" (the member itself) or "operator".
	Lost string `json:"lost,omitempty"`
	// Position is how far its log goes, written by a member that stopped since the quorum is lost.
	Position *datadir.Position `json:"position,omitempty"`
}

// The kinds of a change.
const (
	Add     = "add"
	Remove  = "remove"
	Promote = "promote"
)

// Change is a change of membership that an instance carries out.
type Change struct {
	Kind     string `json:"kind"`
	Member   string `json:"member"`
	Instance string `json:"instance"`
	// Also are others that are removed with Member: gone, and while they count etcd lets Member not go.
	Also []string `json:"also,omitempty"`
}

// removes tells whether the change takes a member of that name out.
func (c *Change) removes(name string) bool {
	return c != nil && c.Kind == Remove && (c.Member == name || slices.Contains(c.Also, name))
}

// Key is where the lineage of a cluster lies in the store.
func Key(cluster string) string { return "etcd/" + cluster + "/lineage.json" }

// ParseLineage reads a record; one that makes no sense is an error, never an absent record.
func ParseLineage(data []byte) (*Lineage, error) {
	var record Lineage
	if err := json.Unmarshal(data, &record); err != nil {
		return nil, fmt.Errorf("lineage: %w", err)
	}
	switch {
	case record.UID == "":
		return nil, fmt.Errorf("lineage: uid is empty")
	case record.Generation < 1:
		return nil, fmt.Errorf("lineage: generation %d: must be at least 1", record.Generation)
	case record.Token == "":
		return nil, fmt.Errorf("lineage: token is empty")
	case record.Holder.Instance == "":
		return nil, fmt.Errorf("lineage: holder is empty")
	case !slices.Contains([]string{Creating, Restoring, Rescuing, Running}, record.State):
		return nil, fmt.Errorf("lineage: state %q is not known to this version", record.State)
	case record.State != Running && len(record.Members) != 1:
		return nil, fmt.Errorf("lineage: %s with %d members: must be one", record.State, len(record.Members))
	}
	seen := map[string]bool{}
	for _, m := range record.Members {
		if m.Name == "" || m.Instance == "" || m.PeerURL == "" || seen[m.Name] {
			return nil, fmt.Errorf("lineage: member %q on %q: incomplete, or twice", m.Name, m.Instance)
		}
		seen[m.Name] = true
	}
	if c := record.Change; c != nil && (c.Member == "" || c.Instance == "" || !slices.Contains([]string{Add, Remove, Promote}, c.Kind)) {
		return nil, fmt.Errorf("lineage: change %q of %q by %q is not known to this version", c.Kind, c.Member, c.Instance)
	}
	return &record, nil
}

func (l *Lineage) encode() ([]byte, error) {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("lineage: %w", err)
	}
	return append(data, '\n'), nil
}

// clone is a copy that can be changed.
func (l *Lineage) clone() *Lineage {
	c := *l
	c.Members, c.Former = slices.Clone(l.Members), slices.Clone(l.Former)
	if l.Change != nil {
		change := *l.Change
		change.Also = slices.Clone(change.Also)
		c.Change = &change
	}
	return &c
}

// named is the member of a name, in place, or nil.
func (l *Lineage) named(name string) *Member {
	return find(l.Members, func(m Member) bool { return m.Name == name })
}

// on is the member on an instance, in place, or nil.
func (l *Lineage) on(instance string) *Member {
	return find(l.Members, func(m Member) bool { return m.Instance == instance })
}

func find(members []Member, match func(Member) bool) *Member {
	if i := slices.IndexFunc(members, match); i >= 0 {
		return &members[i]
	}
	return nil
}

// drop takes a member out.
func (l *Lineage) drop(name string) {
	l.Members = slices.DeleteFunc(l.Members, func(m Member) bool { return m.Name == name })
}

// voters are the members that may vote: a promotion that is under way may have been made.
func (l *Lineage) voters() []Member {
	var all []Member
	for _, m := range l.Members {
		if !m.Learner || l.Change != nil && l.Change.Kind == Promote && l.Change.Member == m.Name {
			all = append(all, m)
		}
	}
	return all
}

// rescuers are the members of which one may rescue the cluster: the voters, or, when none of them is left, all.
func (l *Lineage) rescuers(gone func(Member) bool) []Member {
	voters := l.voters()
	if slices.ContainsFunc(voters, func(m Member) bool { return !gone(m) }) {
		return voters
	}
	return l.Members
}

// lostQuorum tells whether those for whom gone is false can form no majority, if those whose change is under way do not
// help: whether they vote is not known. That a quorum may be there all the same harms nobody: who gives a position has
// stopped, and all that are left must have given one before the cluster is rescued.
func (l *Lineage) lostQuorum(gone func(Member) bool) bool {
	minority := func(set []Member) bool {
		left := 0
		for _, m := range set {
			if !gone(m) {
				left++
			}
		}
		return left <= len(set)/2
	}
	voters := l.voters()
	sure := slices.DeleteFunc(slices.Clone(voters), func(m Member) bool {
		c := l.Change
		return c != nil && !gone(m) && (c.Kind == Promote && c.Member == m.Name || c.removes(m.Name))
	})
	return minority(voters) || minority(sure)
}

// token is etcd's initial cluster token of a generation.
func tokenOf(uid string, generation int) string { return fmt.Sprintf("%s-g%d", uid, generation) }
