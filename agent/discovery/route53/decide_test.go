package route53

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const (
	cluster = "k.example.com"
	apiName = "api.internal.k.example.com."
	etcdA   = "etcd-a.internal.k.example.com."
)

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		if !strings.ContainsAny(text, ".:") {
			text = "10.0.0." + text
		}
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func record(name, kind string, values ...string) Record {
	return Record{Name: name, Type: kind, TTL: recordTTL, Values: values}
}

// owned is a record set with its marker.
func owned(name, kind, of string, values ...string) []Record {
	return []Record{record(name, kind, values...), newMarker(name, kind, of, 7)}
}

func view(name string, addresses ...string) View {
	return View{Names: map[string][]netip.Addr{name: addrs(addresses...)}, Living: addrs(addresses...)}
}

// text is a batch on one line, without markers' contents.
func text(changes []Change) string {
	var parts []string
	for _, c := range changes {
		sign := map[Action]string{Create: "+", Delete: "-"}[c.Action]
		label, _, _ := strings.Cut(c.Record.Name, ".")
		if c.Record.Type == "TXT" {
			parts = append(parts, sign+label)
			continue
		}
		parts = append(parts, fmt.Sprintf("%s%s %s %s", sign, label, c.Record.Type, strings.ReplaceAll(strings.Join(c.Record.Values, ","), "10.0.0.", "")))
	}
	return strings.Join(parts, "; ")
}

func TestDecide(t *testing.T) {
	weighted := record(apiName, "A", "10.0.0.9")
	weighted.Special = true
	slow := record(apiName, "A", "10.0.0.1")
	slow.TTL = 300
	three := owned(apiName, "A", cluster, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	for name, tt := range map[string]struct {
		listed        []Record
		view          View
		gone, refused []netip.Addr
		want, foreign string
		held          []netip.Addr
	}{
		"first": {view: view(apiName, "1", "2"), want: "+api A 1,2; +_rekindle-a"},
		"two families": {view: view(apiName, "1", "fd00::1"),
			want: "+api A 1; +_rekindle-a; +api AAAA fd00::1; +_rekindle-aaaa"},
		"nothing to do": {listed: owned(apiName, "A", cluster, "10.0.0.2", "10.0.0.1"), view: view(apiName, "1", "2")},
		"one was added": {listed: owned(apiName, "A", cluster, "10.0.0.1"), view: view(apiName, "1", "2"),
			want: "-api A 1; -_rekindle-a; +api A 1,2; +_rekindle-a"},
		"a TTL that somebody changed": {listed: []Record{slow, newMarker(apiName, "A", cluster, 1)}, view: view(apiName, "1"),
			want: "-api A 1; -_rekindle-a; +api A 1; +_rekindle-a"},
		"a record that somebody deleted": {listed: []Record{newMarker(apiName, "A", cluster, 1)}, view: view(apiName, "1"),
			want: "-_rekindle-a; +api A 1; +_rekindle-a"},
		"a family that is not used any more": {listed: slices.Concat(owned(apiName, "A", cluster, "10.0.0.1"), owned(apiName, "AAAA", cluster, "fd00::1")),
			view: View{Names: map[string][]netip.Addr{apiName: addrs("1")}, Living: addrs("1", "fd00::1")}, want: "-api AAAA fd00::1; -_rekindle-aaaa"},
		"a zone without etcd": {listed: slices.Concat(owned(apiName, "A", cluster, "10.0.0.1"), owned(etcdA, "A", cluster, "10.0.0.1")),
			view: view(apiName, "1"), want: "-etcd-a A 1; -_rekindle-a"},

		"no marker":             {listed: []Record{record(apiName, "A", "10.0.0.9")}, view: view(apiName, "1"), foreign: "A " + apiName + ": it has no marker of rekindle"},
		"another cluster's":     {listed: owned(apiName, "A", "other", "10.0.0.9"), view: view(apiName, "1"), foreign: "A " + apiName + ": it belongs to cluster other"},
		"a newer version's":     {listed: []Record{{Name: markerName(apiName, "A"), Type: "TXT", Values: []string{`"rekindle cluster=k.example.com v=2 serial=1"`}}}, view: view(apiName, "1"), foreign: "A " + apiName + ": a newer rekindle wrote it (marker version 2)"},
		"another's marker":      {listed: []Record{{Name: markerName(apiName, "A"), Type: "TXT", Values: []string{`"hands off"`}}}, view: view(apiName, "1"), foreign: "A " + apiName + ": its marker " + markerName(apiName, "A") + " is not one that rekindle wrote"},
		"a routing policy":      {listed: []Record{weighted, newMarker(apiName, "A", cluster, 1)}, view: view(apiName, "1"), foreign: "A " + apiName + ": it is an alias or has a routing policy"},
		"a CNAME":               {listed: []Record{record(apiName, "CNAME", "elb.example.")}, view: view(apiName, "1"), foreign: "A " + apiName + ": a CNAME of that name exists"},
		"a CNAME as its marker": {listed: []Record{record(markerName(apiName, "A"), "CNAME", "elb.example.")}, view: view(apiName, "1"), foreign: "A " + apiName + ": a CNAME is where its marker would be"},
		"not ours, unwanted":    {listed: []Record{record("x.internal.k.example.com.", "A", "10.0.0.9"), record(apiName, "AAAA", "fd00::9")}, view: view(apiName, "1"), want: "+api A 1; +_rekindle-a"},

		"a majority takes out": {listed: three, view: view(apiName, "2", "3"), want: "-api A 1,2,3; -_rekindle-a; +api A 2,3; +_rekindle-a"},
		"half is no majority":  {listed: owned(apiName, "A", cluster, "10.0.0.1", "10.0.0.2"), view: view(apiName, "2"), held: addrs("1")},
		"a minority adds":      {listed: three, view: view(apiName, "3", "4"), want: "-api A 1,2,3; -_rekindle-a; +api A 1,2,3,4; +_rekindle-a", held: addrs("1", "2")},
		"it does not add what others took out": {listed: owned(apiName, "A", cluster, "10.0.0.1", "10.0.0.2"), view: view(apiName, "3"),
			refused: addrs("3"), held: addrs("1", "2")},
		"it does not take out what is unwell": {listed: three, held: addrs("2"),
			view: View{Names: map[string][]netip.Addr{apiName: addrs("1", "3")}, Living: addrs("1")}},
		"a majority takes out what is unwell": {listed: three, want: "-api A 1,2,3; -_rekindle-a; +api A 1; +_rekindle-a",
			view: View{Names: map[string][]netip.Addr{apiName: addrs("1")}, Living: addrs("1", "2", "3")}},
		"the gone do not count":   {listed: three, view: view(apiName, "3"), gone: addrs("1", "2"), want: "-api A 1,2,3; -_rekindle-a; +api A 3; +_rekindle-a"},
		"all were replaced":       {listed: three, view: view(apiName, "4"), gone: addrs("1", "2", "3"), want: "-api A 1,2,3; -_rekindle-a; +api A 4; +_rekindle-a"},
		"some are gone":           {listed: three, view: view(apiName, "4"), gone: addrs("1"), want: "-api A 1,2,3; -_rekindle-a; +api A 2,3,4; +_rekindle-a", held: addrs("2", "3")},
		"nobody is seen":          {listed: three, view: View{}, held: nil},
		"no API, but a majority":  {listed: three, view: View{Living: addrs("1", "2", "3")}},
		"no API, and all is gone": {listed: three, view: View{}, gone: addrs("1", "2", "3")},
		"a cut-off node keeps a zone": {listed: slices.Concat(three, owned(etcdA, "A", cluster, "10.0.0.1")), view: view(apiName, "3"),
			held: addrs("1", "2")},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(cluster, arrange(cluster, tt.listed), tt.view, tt.gone, tt.refused)
			if got := text(d.changes); got != tt.want {
				t.Errorf("changes %q, want %q", got, tt.want)
			}
			if got := strings.Join(d.foreign, ", "); got != tt.foreign {
				t.Errorf("foreign %q, want %q", got, tt.foreign)
			}
			if !slices.Equal(d.held, tt.held) {
				t.Errorf("held %v, want %v", d.held, tt.held)
			}
		})
	}
}

func TestSerialGrowsWithEveryWrite(t *testing.T) {
	l := arrange(cluster, nil)
	for want := int64(1); want < 4; want++ {
		l = l.apply(cluster, decide(cluster, l, view(apiName, fmt.Sprint(want)), addrs("1", "2"), nil).changes)
		if got := l[key{apiName, "A"}].serial; got != want {
			t.Errorf("serial %d, want %d", got, want)
		}
	}
}

// Whatever stands in a marker, ours is only what newMarker writes for this cluster.
func FuzzMarker(f *testing.F) {
	f.Add(newMarker(apiName, "A", cluster, 7).Values[0], cluster)
	f.Add(`"rekindle cluster=a v=1 serial=99999999999999999999"`, "a")
	f.Add(`"rekindle cluster= v=1 serial=1"`, "")
	f.Add("\"rekindle cluster=a v=1 serial=1\"\n", "a")
	f.Fuzz(func(t *testing.T, value, cluster string) {
		serial, why := Record{Type: "TXT", Values: []string{value}}.ours(cluster)
		if why == "" && value != newMarker(apiName, "A", cluster, serial).Values[0] {
			t.Errorf("%q passes for a marker of %q", value, cluster)
		}
	})
}
