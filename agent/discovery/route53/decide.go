package route53

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"rekindle/agent/discovery"
)

// recordTTL is in seconds: how long a resolver may go on naming a master that died.
const recordTTL = 10

// key is what makes a record set of ours one.
type key struct{ name, kind string }

func (k key) String() string { return k.kind + " " + k.name }

// set is a record set with its marker; either may be missing.
type set struct {
	record, marker *Record
	serial         int64
	foreign        string // why it is not ours; empty: it is, or there is none
}

func (s *set) addresses() []netip.Addr {
	if s.record == nil {
		return nil
	}
	var all []netip.Addr
	for _, v := range s.record.Values {
		if a, err := netip.ParseAddr(v); err == nil {
			all = append(all, a)
		}
	}
	return tidy(all)
}

// listing is what the zone holds under the cluster's domain: address records and markers.
type listing map[key]*set

func (l listing) at(k key) *set {
	if l[k] == nil {
		l[k] = new(set)
	}
	return l[k]
}

// arrange finds out which record sets are this cluster's. Only a marker makes one ours.
func arrange(cluster string, records []Record) listing {
	l := listing{}
	var aliased []string
	for i := range records {
		r := &records[i]
		switch r.Type {
		case "A", "AAAA":
			s := l.at(key{r.Name, r.Type})
			s.record = r
			if r.Special {
				s.foreign = "it is an alias or has a routing policy"
			}
		case "CNAME":
			aliased = append(aliased, r.Name)
		case "TXT":
			if name, kind, ok := markedBy(r.Name); ok {
				l.at(key{name, kind}).marker = r
			}
		}
	}
	for _, name := range aliased {
		if marked, kind, ok := markedBy(name); ok {
			l.at(key{marked, kind}).foreign = "a CNAME is where its marker would be"
		}
		for _, kind := range []string{"A", "AAAA"} {
			l.at(key{name, kind}).foreign = "a CNAME of that name exists"
		}
	}
	for _, s := range l {
		switch {
		case s.foreign != "":
		case s.marker != nil:
			s.serial, s.foreign = s.marker.ours(cluster)
		case s.record != nil:
			s.foreign = "it has no marker of rekindle"
		}
	}
	return l
}

// addresses are all that our record sets list.
func (l listing) addresses() []netip.Addr {
	var all []netip.Addr
	for _, s := range l {
		if s.foreign == "" {
			all = append(all, s.addresses()...)
		}
	}
	return tidy(all)
}

// decision is what follows from a listing and a view.
type decision struct {
	changes  []Change
	foreign  []string     // names that are wanted and not ours, and why
	held     []netip.Addr // would be taken out if a majority of what is listed were seen
	majority bool
}

// decide says what to change, by these rules:
//
//   - A record set without this cluster's marker stays as it is.
//   - A master that sees more than half of the addresses listed alive makes the records equal to its names.
//   - Any other may be the one that is cut off. It adds what it sees and takes nothing out, but for what is gone:
//     addresses that certainly belong to nobody any more, which count neither as listed nor as wanted.
//   - What others took out (refused) it does not add again: there is a majority, and it is elsewhere.
//   - The API's name is never left without an address.
//
// Two masters cannot both see more than half of one list without seeing a node in common, so at most one side of a
// partition takes out anything.
func decide(cluster string, l listing, v View, gone, refused []netip.Addr) decision {
	listed := without(l.addresses(), gone)
	living := 0
	for _, a := range listed {
		if slices.Contains(v.Living, a) {
			living++
		}
	}
	d := decision{majority: len(listed) == 0 || 2*living > len(listed)}
	api := fqdn(discovery.APIName(cluster))
	l = maps.Clone(l)
	for name := range v.Names {
		l.at(key{name, "A"})
		l.at(key{name, "AAAA"})
	}
	keys := slices.SortedFunc(maps.Keys(l), func(a, b key) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind)) })
	for _, k := range keys {
		s := l[k]
		wanted := family(k.kind, v.Names[k.name])
		switch {
		case s.foreign != "":
			if len(wanted) > 0 {
				d.foreign = append(d.foreign, k.String()+": "+s.foreign)
			}
			continue
		case k.name == api && len(v.Names[api]) == 0:
			continue
		}
		if !d.majority {
			current := without(s.addresses(), gone)
			d.held = append(d.held, without(current, wanted)...)
			wanted = tidy(append(current, without(without(wanted, refused), gone)...))
		}
		d.changes = append(d.changes, s.become(k, cluster, wanted)...)
	}
	d.held = tidy(d.held)
	return d
}

// become makes the record set list these addresses, or go when there is none. Record and marker are deleted as they were
// read and created anew, so the batch fails if either was touched in between.
func (s *set) become(k key, cluster string, addresses []netip.Addr) []Change {
	same := s.record != nil && s.record.TTL == recordTTL && slices.Equal(s.addresses(), addresses)
	if same || len(addresses) == 0 && s.marker == nil {
		return nil
	}
	var changes []Change
	for _, old := range []*Record{s.record, s.marker} {
		if old != nil {
			changes = append(changes, Change{Delete, *old})
		}
	}
	if len(addresses) == 0 {
		return changes
	}
	r := Record{Name: k.name, Type: k.kind, TTL: recordTTL}
	for _, a := range addresses {
		r.Values = append(r.Values, a.String())
	}
	return append(changes, Change{Create, r}, Change{Create, newMarker(k.name, k.kind, cluster, s.serial+1)})
}

// apply is the listing after the changes.
func (l listing) apply(cluster string, changes []Change) listing {
	records := map[key]Record{}
	for _, s := range l {
		for _, r := range []*Record{s.record, s.marker} {
			if r != nil {
				records[key{r.Name, r.Type}] = *r
			}
		}
	}
	for _, c := range changes {
		delete(records, key{c.Record.Name, c.Record.Type})
		if c.Action == Create {
			records[key{c.Record.Name, c.Record.Type}] = c.Record
		}
	}
	return arrange(cluster, slices.Collect(maps.Values(records)))
}

// without is a without b.
func without(a, b []netip.Addr) []netip.Addr {
	var rest []netip.Addr
	for _, x := range a {
		if !slices.Contains(b, x) {
			rest = append(rest, x)
		}
	}
	return rest
}
