package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
)

// Adoptable is all that is known when somebody wants to give a cluster its record.
type Adoptable struct {
	Picture
	Cluster string // of etcd: main or events
	UID     string // of the newest backup's manifest; empty without a backup

	// What follows is known on a node that carries members.
	Member   *plan.Etcd // nil: elsewhere
	Instance string
	Holding  Holding
	View     *peers.View // of the etcd that runs on the data
	// Others says where the other members of the data are, by name.
	Others map[string]Whereabouts
}

// Whereabouts is where a member is.
type Whereabouts struct {
	Instance string
	Address  string // IP; empty: that of its peer URL
}

// Adoption is what is going to be written, and why.
type Adoption struct {
	Record *Lineage        // created; nil: it is there
	Marker *datadir.Marker // written beside the data; nil: it is there, or there is no data
	Says   []string        // what will follow
	// Restores: masters will restore the newest backup.
	Restores bool
}

// ErrNothingToAdopt says that there is nothing to give a record to, or that it has one.
var ErrNothingToAdopt = errors.New("nothing to adopt")

// Adopt decides what a cluster's record has to be, by the data on this node, or else by the newest backup. uid is that of
// a lineage that is yet to be.
func Adopt(a Adoptable, uid string) (Adoption, error) {
	state, marker := a.Holding.Found.State, a.Holding.Found.Marker
	away := a.Member == nil || state == datadir.Empty
	switch {
	case a.Unknown != nil:
		return Adoption{}, fmt.Errorf("the lineage cannot be read, so there may be one: %w", a.Unknown)
	case a.Record != nil && !away && marker == nil && state == datadir.Sound:
		return a.mark()
	case a.Record != nil:
		return Adoption{}, fmt.Errorf("%w: there is %s. If members of it are lost, use `rekindle etcd recover`", ErrNothingToAdopt, a.Record.Title())
	case away:
		return a.fromBackup()
	case state == datadir.Torn:
		return Adoption{}, fmt.Errorf("the data here is torn: %s: no etcd would start from it. Move %s away; adopt then takes the newest backup",
			a.Holding.Found.Why, datadir.Data(a.Member.DataDir))
	case marker == nil && state == datadir.Busy:
		return Adoption{}, fmt.Errorf("an etcd runs on %s that the agent did not start: stop it, so that its data can be looked at",
			datadir.Data(a.Member.DataDir))
	case marker == nil:
		return a.take(uid, max(1, a.newest()+1), a.Holding.Self, a.Holding.Members)
	}
	return a.again(*marker)
}

// newest is the highest generation of any backup.
func (a Adoptable) newest() int {
	highest := 0
	for _, e := range a.Backups.Entries {
		highest = max(highest, e.Generation)
	}
	return highest
}

func (a Adoptable) fromBackup() (Adoption, error) {
	if a.Newest == nil {
		return Adoption{}, fmt.Errorf("%w: no backup is complete, and there is no data here. Masters create a cluster that never was by themselves; "+
			"to bring one along, put a backup under %s, or run this on the node that has its data", ErrNothingToAdopt, backup.Prefix(a.Cluster))
	}
	generation := a.Newest.Generation
	return Adoption{
		Restores: true,
		Record: &Lineage{
			UID: a.UID, Generation: generation, State: Running, Token: tokenOf(a.UID, generation),
			Holder: Holder{Instance: a.holder()}, Members: []Member{},
		},
		Says: []string{
			fmt.Sprintf("A record of generation %d without members is written. The first master without data restores backup %s", generation, a.Newest.ID),
			fmt.Sprintf("as generation %d, and the others join it. A master that has data of the lineage stops its etcd and sets the data aside:", generation+1),
			"if one has, run adopt there instead.",
		},
	}, nil
}

func (a Adoptable) holder() string {
	if a.Instance == "" {
		return ByOperator
	}
	return a.Instance
}

// again writes the record of marked data anew: it was lost from the store.
func (a Adoptable) again(marker datadir.Marker) (Adoption, error) {
	if highest := a.newest(); highest > marker.Generation {
		return Adoption{}, fmt.Errorf("the data here is of generation %d, and there are backups of generation %d: it was superseded. "+
			"Run adopt on a master with newer data; if there is none, move %s and %s away, and adopt takes the newest backup",
			marker.Generation, highest, datadir.Data(a.Member.DataDir), datadir.MarkerPath(a.Member.DataDir))
	}
	members := a.Holding.Members
	if a.Holding.Found.State == datadir.Busy {
		if a.View == nil {
			return Adoption{}, errors.New("etcd runs here and has no quorum, so it cannot say who its members are: start the other masters, " +
				"or restore an older version of lineage.json in the bucket")
		}
		members = a.View.Members
	}
	adoption, err := a.take(marker.UID, marker.Generation, marker.Member, members)
	if err == nil && marker.Instance == a.Instance {
		adoption.Marker = nil
	}
	return adoption, err
}

// take makes the record of data that lies here: of a member of that name, which knows the members.
func (a Adoptable) take(uid string, generation int, self string, members []peers.Member) (Adoption, error) {
	record := &Lineage{UID: uid, Generation: generation, State: Running, Token: tokenOf(uid, generation), Holder: Holder{Instance: a.holder()}}
	var missing []string
	for _, m := range members {
		entry, ask, err := a.entry(m, self)
		if err != nil {
			return Adoption{}, err
		}
		missing = append(missing, ask...)
		record.Members = append(record.Members, entry)
	}
	switch {
	case record.named(self) == nil:
		return Adoption{}, fmt.Errorf("the data does not list its own member %q among %s: start etcd on it once where it came from", self, names(record.Members))
	case len(missing) > 0:
		return Adoption{}, fmt.Errorf("the data has %d members, %s: the record must list all of them. Say where the others are, with %s",
			len(members), names(record.Members), strings.Join(missing, " "))
	}
	slices.SortFunc(record.Members, func(x, y Member) int { return strings.Compare(x.Name, y.Name) })
	return Adoption{Record: record, Marker: a.marker(record, self), Says: a.says(record, self)}, nil
}

func (a Adoptable) marker(record *Lineage, self string) *datadir.Marker {
	return &datadir.Marker{UID: record.UID, Generation: record.Generation, Member: self, Token: record.Token, Instance: a.Instance}
}

func (a Adoptable) says(record *Lineage, self string) []string {
	says := []string{
		fmt.Sprintf("The data here becomes generation %d of lineage %s, as member %s on this instance. Nothing in it is changed.",
			record.Generation, record.UID, self),
	}
	if len(record.Members) > 1 {
		says = append(says, "Every other master that has data of these members needs its marker: run adopt there, too, if its status says `unmarked`.")
	}
	at := record.named(self).PeerURL
	if u, err := url.Parse(at); err == nil && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname()) {
		says = append(says, fmt.Sprintf("Its peer URL %s can be reached from nowhere else. Before another master comes: etcdctl member update ID --peer-urls=%s",
			at, a.Member.PeerURLOf(self)))
	}
	return says
}

// entry is the record's entry of one of the data's members; ask is what the operator has yet to say about it.
func (a Adoptable) entry(m peers.Member, self string) (entry Member, ask []string, err error) {
	if m.Name == "" || len(m.PeerURLs) == 0 {
		return entry, nil, fmt.Errorf("member %x has never started: remove it first, with etcdctl member remove %x", m.ID, m.ID)
	}
	entry = Member{Name: m.Name, PeerURL: m.PeerURLs[0], Learner: m.Learner}
	at := a.Others[m.Name]
	if m.Name == self {
		at = Whereabouts{Instance: a.Instance, Address: a.Member.Address}
	}
	entry.Instance, entry.Address = at.Instance, at.Address
	if entry.Address == "" {
		entry.Address = addressIn(entry.PeerURL)
	}
	if entry.Instance == "" || entry.Address == "" {
		return entry, []string{fmt.Sprintf("--member %s=INSTANCE@ADDRESS", m.Name)}, nil
	}
	entry.ClientURL = a.clientURL(m.Name, entry.Address)
	return entry, nil, nil
}

// clientURL is by name where the members' certificates have it, which are good for one label, and else by address.
func (a Adoptable) clientURL(name, address string) string {
	if !strings.Contains(name, ".") {
		return a.Member.ClientURLOf(name)
	}
	return a.Member.Scheme + "://" + net.JoinHostPort(address, strconv.Itoa(a.Member.ClientPort))
}

func addressIn(peerURL string) string {
	u, err := url.Parse(peerURL)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return ip.String()
	}
	return ""
}

// mark gives data its marker that the record lists already: another master has adopted it.
func (a Adoptable) mark() (Adoption, error) {
	self := a.Holding.Self
	m := a.Record.named(self)
	if m == nil || m.Instance != a.Instance || m.Lost != "" {
		return Adoption{}, fmt.Errorf("%w: there is %s, and it does not list the data's member %q on this instance, %s. "+
			"If the data is not this cluster's, move %s away", ErrNothingToAdopt, a.Record.Title(), self, a.Instance, datadir.Data(a.Member.DataDir))
	}
	for _, held := range a.Holding.Members {
		if find(a.Record.Members, func(r Member) bool { return slices.Contains(held.PeerURLs, r.PeerURL) }) == nil {
			return Adoption{}, fmt.Errorf("the data has a member %s at %s that the lineage does not list: this is another cluster's data, or it is old. "+
				"Move %s away to let this node join empty", held.Name, strings.Join(held.PeerURLs, ","), datadir.Data(a.Member.DataDir))
		}
	}
	return Adoption{Marker: a.marker(a.Record, self), Says: []string{
		fmt.Sprintf("The data here is marked as that of member %s, which the record lists on this instance. Nothing in it is changed.", self),
	}}, nil
}

// Create writes the first record of a cluster; store.ErrConflict when somebody else was first. Before, it checks that the store
// refuses a second create.
func (o *Operator) Create(ctx context.Context, record *Lineage) error {
	k := o.keeper(record.Holder.Instance)
	if err := k.selfTest(ctx, o.Cluster); err != nil {
		return err
	}
	return k.swap(ctx, o.Cluster, record, "")
}

// NewUID is a lineage's.
func NewUID() string { return nonce() }

// ParseWhereabouts reads NAME=INSTANCE or NAME=INSTANCE@ADDRESS.
func ParseWhereabouts(all []string) (map[string]Whereabouts, error) {
	at := map[string]Whereabouts{}
	for _, text := range all {
		name, rest, ok := strings.Cut(text, "=")
		instance, address, addressed := strings.Cut(rest, "@")
		if !ok || name == "" || instance == "" || at[name].Instance != "" {
			return nil, fmt.Errorf("--member %q: use NAME=INSTANCE@ADDRESS, once for each member", text)
		}
		if addressed {
			ip, err := netip.ParseAddr(address)
			if err != nil {
				return nil, fmt.Errorf("--member %q: %w", text, err)
			}
			address = ip.String()
		}
		at[name] = Whereabouts{Instance: instance, Address: address}
	}
	return at, nil
}
