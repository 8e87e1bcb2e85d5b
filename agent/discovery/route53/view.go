package route53

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"rekindle/agent/discovery"
)

// View is what a master sees of its cluster.
type View struct {
	// Names are what Route 53 is to say: discovery.Names.
	Names map[string][]netip.Addr
	// Living are the addresses of all living nodes that have an API server or etcd, well or not.
	Living []netip.Addr
	// Rank is how many living masters have a lower instance id. The one of rank 0 writes at once, the others when a
	// record stays wrong.
	Rank int
}

// ViewOf is what the master with this instance id sees when it knows these peers, itself among them.
func ViewOf(cluster, instance string, peers []discovery.Sighting) View {
	v := View{Names: discovery.Names(cluster, peers)}
	for _, p := range peers {
		if p.State != discovery.Alive && p.State != discovery.Suspect || p.API == "" && p.Etcd == "" {
			continue
		}
		v.Living = append(v.Living, p.Addresses...)
		if p.Role == "master" && p.Instance < instance {
			v.Rank++
		}
	}
	return v
}

// normal is the view as it is compared, or what is wrong with it.
func (v View) normal(domain string) (View, error) {
	n := View{Names: map[string][]netip.Addr{}, Living: tidy(v.Living), Rank: max(v.Rank, 0)}
	for name, addresses := range v.Names {
		full := fqdn(name)
		if !below(full, domain) {
			return View{}, fmt.Errorf("route53: %s is not a name under %s", name, domain)
		}
		if addresses = tidy(addresses); len(addresses) > 0 {
			n.Names[full] = addresses
		}
	}
	return n, nil
}

func (v View) equal(o View) bool { return reflect.DeepEqual(v, o) }

// tidy is a set of addresses in order, without those that nobody else can reach.
func tidy(addresses []netip.Addr) []netip.Addr {
	set := map[netip.Addr]bool{}
	for _, a := range addresses {
		a = a.Unmap().WithZone("")
		if a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() {
			set[a] = true
		}
	}
	return slices.SortedFunc(maps.Keys(set), netip.Addr.Compare)
}

// family are the addresses that a record set of this type can hold.
func family(kind string, addresses []netip.Addr) []netip.Addr {
	var some []netip.Addr
	for _, a := range addresses {
		if a.Is4() == (kind == "A") {
			some = append(some, a)
		}
	}
	return some
}
