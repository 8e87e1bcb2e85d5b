package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/store"
)

// join makes this node a member of the living cluster, one change and one swap at a time: what has to go first, then this
// node as a learner. It returns the configuration with which the learner is started.
func (k *Keeper) join(ctx context.Context, member plan.Etcd, facts Facts, was store.Version) ([]byte, error) {
	record := facts.Record
	cluster, err := k.dial(ctx, member, record)
	if err != nil {
		return nil, again("no member to ask: %v", err)
	}
	defer cluster.Close()
	view, err := cluster.View(ctx)
	if err != nil {
		return nil, again("no quorum answers: %v", err)
	}
	c := &changer{Keeper: k, member: member, facts: facts, was: was, cluster: cluster, view: view}
	if missing := c.unlisted(); len(missing) > 0 {
		return nil, c.list(ctx, missing)
	}
	switch change := record.Change; {
	case change == nil:
	case change.Instance != k.Instance:
		return nil, c.takeOver(ctx)
	case change.Kind == Add && change.Member == member.Member:
		return c.added(ctx)
	default:
		return nil, c.finish(ctx)
	}
	if gone := c.goneMember(ctx); gone != nil {
		return nil, c.begin(ctx, Change{Kind: Remove, Member: gone.Name}, nil)
	}
	if record.named(member.Member) != nil {
		// The name is another instance's, which a volume took along. Names are never shared.
		return nil, fmt.Errorf("the name %s is the member's on %s", member.Member, record.named(member.Member).Instance)
	}
	if learner := c.learner(); learner != "" {
		return nil, again("%s is joining", learner)
	}
	own := k.self(member, member.Member)
	own.Learner = true
	return nil, c.begin(ctx, Change{Kind: Add, Member: own.Name}, &own)
}

// changer carries out changes of membership. Each of its steps ends with a swap or with a call to etcd, and what follows is
// decided anew.
type changer struct {
	*Keeper
	member  plan.Etcd
	facts   Facts
	was     store.Version
	cluster peers.Cluster
	view    peers.View
}

// begin writes ahead what is going to be changed.
func (c *changer) begin(ctx context.Context, change Change, add *Member) error {
	record := c.facts.Record.clone()
	change.Instance = c.Instance
	record.Change = &change
	if add != nil {
		record.Members = append(record.Members, *add)
	}
	return c.swap(ctx, c.member.Name, record, c.was)
}

// end writes down that the change is made.
func (c *changer) end(ctx context.Context, edit func(*Lineage)) error {
	record := c.facts.Record.clone()
	record.Change = nil
	edit(record)
	return c.swap(ctx, c.member.Name, record, c.was)
}

// unlisted are members that etcd has and the record has not: somebody added them by hand. The record must not lack a voter.
func (c *changer) unlisted() []peers.Member {
	return slices.DeleteFunc(slices.Clone(c.view.Members), func(m peers.Member) bool { return c.listed(m) != nil })
}

// listed is the record's entry of one of etcd's members: URLs are unique, names are missing until a member has started.
func (c *changer) listed(m peers.Member) *Member {
	return find(c.facts.Record.Members, func(r Member) bool { return slices.Contains(m.PeerURLs, r.PeerURL) })
}

// inView is etcd's member of one of the record's, or nil.
func (c *changer) inView(r Member) *peers.Member {
	i := slices.IndexFunc(c.view.Members, func(m peers.Member) bool { return slices.Contains(m.PeerURLs, r.PeerURL) })
	if i < 0 {
		return nil
	}
	return &c.view.Members[i]
}

// unknownInstance stands in the record for the instance of a member that etcd had and the record had not.
const unknownInstance = "unknown"

func (c *changer) list(ctx context.Context, missing []peers.Member) error {
	record := c.facts.Record.clone()
	for _, m := range missing {
		entry := Member{Name: m.Name, Instance: unknownInstance, Learner: m.Learner}
		if entry.Name == "" {
			entry.Name = fmt.Sprintf("%x", m.ID)
		}
		if len(m.PeerURLs) > 0 {
			entry.PeerURL = m.PeerURLs[0]
		}
		if len(m.ClientURLs) > 0 {
			entry.ClientURL = m.ClientURLs[0]
		}
		c.Logger.Warn("etcd has a member that the lineage did not list", "etcd", c.member.Name, "member", entry.Name)
		if known := record.named(entry.Name); known != nil { // its URL was changed by hand
			known.PeerURL, known.ClientURL, known.Learner = entry.PeerURL, entry.ClientURL, entry.Learner
			continue
		}
		record.Members = append(record.Members, entry)
	}
	return c.swap(ctx, c.member.Name, record, c.was)
}

// goneMember is a member that has to go before another can come: this instance's own, whose disk is gone, or one that can
// never come back.
func (c *changer) goneMember(ctx context.Context) *Member {
	record := c.facts.Record
	if own := record.on(c.Instance); own != nil {
		return own
	}
	return find(record.Members, func(m Member) bool { return c.gone(ctx, m) })
}

// learner is the name of one that is being added; etcd has one at a time.
func (c *changer) learner() string {
	if m := find(c.facts.Record.Members, func(m Member) bool { return m.Learner }); m != nil {
		return m.Name
	}
	return ""
}

// takeOver ends a change of another instance, if that is gone or does not move. A learner goes, whatever became of it since:
// a request of its own that etcd carries out late then finds it removed.
func (c *changer) takeOver(ctx context.Context) error {
	change := *c.facts.Record.Change
	if c.facts.Instances == nil {
		c.facts.Instances = c.instances(ctx, c.facts.Record)
	}
	if !c.facts.Instances.Gone[change.Instance] && !c.facts.Stuck {
		return again("%s is about to %s %s", change.Instance, change.Kind, change.Member)
	}
	c.Logger.Warn("taking over a change of membership", "etcd", c.member.Name, "change", change.Kind, "of", change.Member, "from", change.Instance)
	return c.resolve(ctx)
}

// resolve ends a change that does not come to its end by itself: a promotion that etcd has made stands, anything else
// becomes a removal, and is written down as one first.
func (c *changer) resolve(ctx context.Context) error {
	change := *c.facts.Record.Change
	target := c.facts.Record.named(change.Member)
	if target == nil {
		return c.end(ctx, func(*Lineage) {})
	}
	if there := c.inView(*target); change.Kind == Promote && there != nil && !there.Learner {
		return c.end(ctx, func(r *Lineage) { r.named(change.Member).Learner = false })
	}
	record := c.facts.Record.clone()
	record.named(change.Member).Learner = target.Learner && change.Kind != Promote // one that was being promoted may vote
	record.Change = &change
	change.Kind, change.Instance = Remove, c.Instance
	return c.swap(ctx, c.member.Name, record, c.was)
}

// finish carries this instance's change out, up to its end.
func (c *changer) finish(ctx context.Context) error {
	if c.facts.Record.Change.Kind != Remove {
		return c.resolve(ctx)
	}
	targets := append([]string{c.facts.Record.Change.Member}, c.facts.Record.Change.Also...)
	// The gone go first: while they count, etcd lets nobody go who runs.
	slices.SortStableFunc(targets, func(a, b string) int { return c.running(ctx, a) - c.running(ctx, b) })
	for _, name := range targets {
		target := c.facts.Record.named(name)
		if target == nil {
			continue
		}
		there := c.inView(*target)
		if there == nil { // etcd has it no longer, or never had
			continue
		}
		switch err := c.cluster.Remove(ctx, there.ID); {
		case errors.Is(err, peers.ErrUnhealthy):
			return c.removeAnother(ctx, name)
		case err != nil && !errors.Is(err, peers.ErrNotFound):
			return again("removing %s: %v", name, err)
		}
	}
	return c.end(ctx, func(r *Lineage) {
		for _, name := range targets {
			r.drop(name)
		}
	})
}

// running is 1 for a member that may run, 0 for one that is gone.
func (c *changer) running(ctx context.Context, name string) int {
	m := c.facts.Record.named(name)
	if m == nil || c.gone(ctx, *m) {
		return 0
	}
	return 1
}

// gone asks EC2 at most once.
func (c *changer) gone(ctx context.Context, m Member) bool {
	if c.facts.Instances == nil {
		c.facts.Instances = c.instances(ctx, c.facts.Record)
	}
	return (&sight{Facts: c.facts}).gone(m)
}

// removeAnother lets a member that is gone go as well, since etcd refuses to remove one that runs while it counts.
func (c *changer) removeAnother(ctx context.Context, refused string) error {
	record := c.facts.Record
	other := find(record.Members, func(m Member) bool { return !record.Change.removes(m.Name) && c.gone(ctx, m) })
	if other == nil {
		return again("removing %s would endanger the quorum now", refused)
	}
	change := *record.Change
	change.Also = append(slices.Clone(change.Also), other.Name)
	return c.begin(ctx, change, nil)
}

// added asks etcd for the learner that the record lists already, and starts it.
func (c *changer) added(ctx context.Context) ([]byte, error) {
	own := c.facts.Record.named(c.member.Member)
	if own == nil {
		return nil, c.end(ctx, func(*Lineage) {})
	}
	there := c.inView(*own)
	if own.Lost != "" || there != nil && there.Name != "" { // it ran, and what it had is not here
		return nil, c.resolve(ctx)
	}
	if there == nil {
		if _, err := c.cluster.AddLearner(ctx, own.PeerURL); err != nil {
			return nil, again("adding %s: %v", own.Name, err)
		}
	}
	marker := c.marker(c.facts.Record, own.Name, false)
	if err := c.Disk.Mark(ctx, c.member, marker); err != nil {
		return nil, err
	}
	if err := c.Notes.Clear(c.member); err != nil {
		return nil, err
	}
	var others []string
	for _, m := range c.view.Members {
		if m.Name != "" && (there == nil || m.ID != there.ID) && len(m.PeerURLs) > 0 {
			others = append(others, m.Name+"="+m.PeerURLs[0])
		}
	}
	return c.config(c.member, marker, "existing", others)
}
