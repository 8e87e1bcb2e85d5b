package etcd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
)

// MemberState is a member as the record has it and as etcd sees it, side by side.
type MemberState struct {
	Name     string            `json:"name"`
	Instance string            `json:"instance,omitempty"`
	EC2      string            `json:"ec2,omitempty"` // the instance's state, or "not found"; empty: EC2 was not asked
	Address  string            `json:"address,omitempty"`
	PeerURL  string            `json:"peerURL"`
	Role     string            `json:"role"` // voter or learner, by the record, or else by etcd
	Lost     string            `json:"lost,omitempty"`
	Position *datadir.Position `json:"position,omitempty"`
	Listed   bool              `json:"listed"`           // in the record
	InEtcd   *bool             `json:"inEtcd,omitempty"` // in etcd's own list; absent: no quorum was asked
	EtcdRole string            `json:"etcdRole,omitempty"`
	Leader   bool              `json:"leader,omitempty"`
	Health   string            `json:"health,omitempty"` // ok, or what is wrong; empty: not asked
	Version  string            `json:"version,omitempty"`
	DBSize   int64             `json:"dbSize,omitempty"` // bytes
	InUse    int64             `json:"inUse,omitempty"`  // bytes of it
	Revision int64             `json:"revision,omitempty"`
	Alarms   []string          `json:"alarms,omitempty"`
}

// Asking is what the members themselves said.
type Asking struct {
	View   *peers.View // nil: no quorum answered
	Why    string      // what was heard instead
	Health map[string]peers.Health
	Silent map[string]error // why a member gave no status
	Alarms []peers.Alarm
}

// Ask asks all members of a record, each for itself, and a quorum for the list and the alarms.
func Ask(ctx context.Context, client *peers.Client, endpoints []peers.Endpoint) Asking {
	a := Asking{Health: map[string]peers.Health{}, Silent: map[string]error{}}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, e := range endpoints {
		group.Go(func() {
			health, err := client.Health(ctx, e)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.Silent[e.Name] = err
				return
			}
			a.Health[e.Name] = health
		})
	}
	view, err := client.View(ctx)
	if err == nil {
		a.View = &view
		a.Alarms, err = client.Alarms(ctx)
	}
	group.Wait()
	if err != nil {
		a.Why = err.Error()
	}
	return a
}

// Endpoints are the members of a record that can be asked.
func (l *Lineage) Endpoints() []peers.Endpoint {
	var all []peers.Endpoint
	for _, m := range l.Members {
		if m.ClientURL != "" && m.Address != "" {
			all = append(all, peers.Endpoint{Name: m.Name, URL: m.ClientURL, Address: m.Address})
		}
	}
	return all
}

// Beside lays what etcd says beside the record. asked may be nil; states are EC2's by instance, nil when it was not asked.
func Beside(record *Lineage, asked *Asking, states map[string]string) []MemberState {
	var all []MemberState
	for _, m := range record.Everyone() {
		s := MemberState{
			Name: m.Name, Instance: m.Instance, EC2: states[m.Instance], Address: m.Address, PeerURL: m.PeerURL, Role: role(m.Learner),
			Lost: m.Lost, Position: m.Position, Listed: true,
		}
		all = append(all, s)
	}
	if asked == nil {
		return all
	}
	if asked.View != nil {
		all = asked.merge(all)
	}
	for i := range all {
		asked.describe(&all[i])
	}
	return all
}

// merge lays etcd's own list beside the record's. URLs are unique; a name is missing until a member has started.
func (a *Asking) merge(all []MemberState) []MemberState {
	listed := len(all)
	for i := range all {
		all[i].InEtcd = new(bool)
	}
	for _, m := range a.View.Members {
		i := slices.IndexFunc(all[:listed], func(s MemberState) bool { return slices.Contains(m.PeerURLs, s.PeerURL) })
		if i < 0 {
			name := m.Name
			if name == "" {
				name = fmt.Sprintf("%x", m.ID)
			}
			all = append(all, MemberState{Name: name, PeerURL: strings.Join(m.PeerURLs, ","), Role: role(m.Learner)})
			i = len(all) - 1
		}
		there := true
		all[i].InEtcd, all[i].EtcdRole = &there, role(m.Learner)
		for _, alarm := range a.Alarms {
			if alarm.Member == m.ID {
				all[i].Alarms = append(all[i].Alarms, alarm.Kind)
			}
		}
	}
	return all
}

func (a *Asking) describe(s *MemberState) {
	if err := a.Silent[s.Name]; err != nil {
		s.Health = err.Error()
		return
	}
	h, ok := a.Health[s.Name]
	if !ok {
		return
	}
	s.Health, s.Version, s.DBSize, s.InUse, s.Revision, s.Leader = "ok", h.Version, h.DBSize, h.DBInUse, h.Revision, h.IsLeader
	switch {
	case len(h.Errors) > 0:
		s.Health = strings.Join(h.Errors, "; ")
	case h.Leader == 0:
		s.Health = "knows no leader"
	}
}

func role(learner bool) string {
	if learner {
		return "learner"
	}
	return "voter"
}

// Waits says what a cluster is waiting for, by its record and by what its members said; nothing when it is as it should be.
func Waits(record *Lineage, asked *Asking) []string {
	var all []string
	switch {
	case record.State == Running && len(record.Members) == 0:
		all = append(all, "a master without data, to restore the newest backup")
	case record.State != Running:
		all = append(all, fmt.Sprintf("%s, which is %s the cluster", record.Holder.Instance, record.State))
	}
	if c := record.Change; c != nil {
		all = append(all, fmt.Sprintf("%s, which is about to %s %s", c.Instance, c.Kind, c.Member))
	}
	for _, m := range record.Members {
		if m.Lost != "" {
			all = append(all, fmt.Sprintf("a master to replace %s, which is lost (%s); without one it is removed ten minutes after its loss", m.Name, m.Lost))
		}
		if m.Position != nil {
			all = append(all, fmt.Sprintf("the rescue: %s stands at term %d, index %d", m.Name, m.Position.Term, m.Position.Index))
		}
	}
	if asked != nil && asked.View == nil {
		all = append(all, "a quorum of etcd: "+asked.heard())
	}
	return all
}

// heard is what came instead of a quorum's answer.
func (a *Asking) heard() string {
	var leaderless []string
	for name, h := range a.Health {
		if h.Leader == 0 {
			leaderless = append(leaderless, name)
		}
	}
	slices.Sort(leaderless)
	text := fmt.Sprintf("%d of %s answer", len(a.Health), Count(len(a.Health)+len(a.Silent), "member"))
	if len(leaderless) > 0 {
		text += ", of which these know no leader: " + strings.Join(leaderless, ", ")
	}
	return text
}

// Brief is the end of an error of gRPC, which says what happened.
func Brief(text string) string {
	if _, after, ok := strings.Cut(text, " desc = "); ok {
		text = after
		if _, inner, ok := strings.Cut(text, " desc = "); ok {
			text = inner
		}
		text = strings.Trim(text, `"`)
		text = text[strings.LastIndex(text, ": ")+1:]
	}
	return strings.TrimPrefix(strings.TrimSpace(text), "etcdserver: ")
}

// NotFound is what States says of an instance that EC2 does not know.
const NotFound = "not found"

// States is EC2's word on instances, by their ids. Who asks from another account or region learns that none is found: that
// says nothing about them.
func (w *Word) States(ctx context.Context, ids []string) (map[string]string, error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !strings.HasPrefix(id, "i-") })
	slices.Sort(ids)
	ids = slices.Compact(ids)
	states := map[string]string{}
	if len(ids) == 0 {
		return states, nil
	}
	found := map[string]types.InstanceStateName{}
	for batch := range slices.Chunk(ids, 200) { // values of one filter
		more, err := w.states(ctx, batch)
		if err != nil {
			return nil, err
		}
		for id, state := range more {
			found[id] = state
		}
	}
	for _, id := range ids {
		states[id] = NotFound
		if state, ok := found[id]; ok {
			states[id] = string(state)
		}
	}
	return states, nil
}

// Instances are the ids of all instances of a record.
func (l *Lineage) Instances() []string {
	ids := []string{l.Holder.Instance}
	for _, m := range l.Everyone() {
		ids = append(ids, m.Instance)
	}
	if l.Change != nil {
		ids = append(ids, l.Change.Instance)
	}
	return ids
}

// GoneIn tells which instances are gone for good. Not found means so only to a master that finds itself; an operator who is
// asked to confirm may take it so.
func GoneIn(states map[string]string) map[string]bool {
	gone := map[string]bool{}
	for id, state := range states {
		gone[id] = state == string(types.InstanceStateNameTerminated) || state == NotFound
	}
	return gone
}
