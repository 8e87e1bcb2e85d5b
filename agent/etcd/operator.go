package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/store"
)

// Operator is what a person does about one etcd cluster of a store, from a node or from anywhere else. It changes the record
// by the same compare-and-swap as the masters do, and never etcd itself.
type Operator struct {
	Store   store.Store
	Cluster string // of etcd: main or events
	Logger  *slog.Logger
}

// AnyGeneration is higher than that of any backup.
const AnyGeneration = 1 << 30

// Picture is what the store says about a cluster.
type Picture struct {
	Record  *Lineage // nil: there is none
	Version store.Version
	// Unknown says why nobody can tell whether there is a record; Record is then nil, too.
	Unknown error
	Backups backup.Catalog
	Newest  *backup.Entry // what a restore would begin with; nil: no backup is complete
}

// Look reads the record and lists the backups. Its error is about the listing: nobody knows then what is there.
func (o *Operator) Look(ctx context.Context) (Picture, error) {
	var p Picture
	p.Record, p.Version, p.Unknown = o.keeper("").read(ctx, o.Cluster)
	if errors.Is(p.Unknown, store.ErrAbsent) {
		p.Unknown = nil
	}
	var err error
	if p.Backups, err = backup.Survey(ctx, o.Store, o.Cluster); err != nil {
		return p, fmt.Errorf("%w: allow s3:ListBucket on the store, and check its name", err)
	}
	p.Newest = backup.Newest(p.Backups.Entries, AnyGeneration)
	return p, nil
}

// keeper writes records in the name of an instance.
func (o *Operator) keeper(instance string) *Keeper {
	return &Keeper{Records: o.Store, Instance: instance, Logger: o.Logger}
}

// Newest stands for the backup that a restore would begin with.
const Newest = "newest"

// Choose is the backup of an ID as `list` prints it, of the part of the ID after the generation if that is one backup's only,
// or the newest. Incomplete ones can be chosen by their ID.
func (p Picture) Choose(id string) (backup.Entry, error) {
	if id == "" || id == Newest {
		if p.Newest == nil {
			return backup.Entry{}, fmt.Errorf("no backup is complete, of %d that are listed; see `rekindle etcd list`", len(p.Backups.Entries))
		}
		return *p.Newest, nil
	}
	var found []backup.Entry
	for _, e := range p.Backups.Entries {
		_, short, _ := strings.Cut(e.ID, "/")
		if e.ID == id || short == id {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return backup.Entry{}, fmt.Errorf("there is no backup %q; see `rekindle etcd list`", id)
	}
	return backup.Entry{}, fmt.Errorf("%q is in several generations: say which, %s", id, found[0].ID)
}

// Reach is how far a backup reaches, and since when what is written is not in it.
type Reach struct {
	Backup   string    `json:"backup"`
	Revision int64     `json:"revision"` // with its deltas
	Until    time.Time `json:"until"`    // by the clock of the node that wrote the backup, or its last delta
	Deltas   int       `json:"deltas"`   // that lead there
}

// Reach finds out until when the writes are in a backup. The last delta says so; one that cannot be read leaves the time of
// the backup itself, which is then too early and never too late.
func (o *Operator) Reach(ctx context.Context, entry backup.Entry) Reach {
	r := Reach{Backup: entry.ID, Revision: entry.Revision, Until: entry.Taken}
	var last *backup.DeltaEntry
	for i, d := range entry.Deltas {
		if d.Base <= r.Revision && d.Last > r.Revision {
			r.Revision, last = d.Last, &entry.Deltas[i]
			r.Deltas++
		}
	}
	if last == nil {
		return r
	}
	if d, err := o.delta(ctx, *last); err == nil && d.Taken.After(r.Until) {
		r.Until = d.Taken
	}
	return r
}

// delta reads one delta.
func (o *Operator) delta(ctx context.Context, entry backup.DeltaEntry) (*delta.Delta, error) {
	body, err := o.Store.Open(ctx, entry.Key, 0, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	d, err := delta.Read(io.LimitReader(body, entry.Stored))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", entry.Key, err)
	}
	return d, nil
}

// Age is how long ago something was, in words that fit into a sentence.
func Age(now, then time.Time) string {
	d := now.Sub(then)
	switch {
	case d < -time.Minute:
		return (-d).Round(time.Second).String() + " in the future, by this clock"
	case d < 0:
		d = 0
	}
	switch days := int(d / (24 * time.Hour)); {
	case days >= 2:
		return fmt.Sprintf("%d days ago", days)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours ago", int(d/time.Hour))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes ago", int(d/time.Minute))
	}
	return fmt.Sprintf("%d seconds ago", int(d/time.Second))
}

// Title is the record in one line.
func (l *Lineage) Title() string {
	if l == nil {
		return "no lineage"
	}
	text := fmt.Sprintf("lineage %s, generation %d, %s, held by %s, %s", l.UID, l.Generation, l.State, l.Holder.Instance, Count(len(l.Members), "member"))
	if l.Backup != "" {
		text += ", restored from " + l.Backup
	}
	if c := l.Change; c != nil {
		text += fmt.Sprintf("; under way: %s %s by %s", c.Kind, c.Member, c.Instance)
	}
	return text
}

// Count is a number of things, in words.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// On names a member and where it is.
func (m Member) On() string {
	if m.Name == m.Instance {
		return m.Name
	}
	return m.Name + " on " + m.Instance
}

// Everyone is the members of the record, and of the generation before while a rescue is under way.
func (l *Lineage) Everyone() []Member {
	all := slices.Clone(l.Members)
	for _, m := range l.Former {
		if l.named(m.Name) == nil {
			all = append(all, m)
		}
	}
	return all
}
