package discovery

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// seen is a node at 10.0.0.n with an API server and etcd of that health; "" for none.
func seen(n byte, zone string, state State, api, etcd Health) Sighting {
	return Sighting{State: state, Peer: Peer{
		Instance: string('a' + rune(n)), Zone: zone, API: api, Etcd: etcd,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, n}), netip.AddrFrom4([4]byte{192, 168, 0, n})},
	}}
}

func TestNames(t *testing.T) {
	const a, b = "cn-north-1a", "cn-north-1b"
	const apiName, etcdA, etcdB = "api.internal.prod", "etcd-cn-north-1a.internal.prod", "etcd-cn-north-1b.internal.prod"
	type names map[string][]netip.Addr
	for name, test := range map[string]struct {
		peers []Sighting
		want  names
	}{
		"nobody":       {nil, names{}},
		"minions only": {[]Sighting{seen(1, a, Alive, "", "")}, names{}},
		"healthy masters, in order, each by its best address": {
			[]Sighting{seen(3, b, Alive, Healthy, Healthy), seen(1, a, Alive, Healthy, Healthy), seen(2, a, Alive, Healthy, Healthy)},
			names{apiName: addrs("10.0.0.1", "10.0.0.2", "10.0.0.3"), etcdA: addrs("10.0.0.1", "10.0.0.2"), etcdB: addrs("10.0.0.3")},
		},
		"those that are not healthy are left out": {
			[]Sighting{
				seen(1, a, Alive, Healthy, Healthy), seen(2, a, Alive, Unhealthy, Unhealthy), seen(3, a, Alive, Starting, Starting),
				seen(4, a, Alive, Leaving, Leaving),
			},
			names{apiName: addrs("10.0.0.1"), etcdA: addrs("10.0.0.1")},
		},
		"when none is healthy, all": {
			[]Sighting{seen(1, a, Alive, Unhealthy, Unhealthy), seen(2, a, Alive, Starting, Starting), seen(3, b, Alive, Leaving, Leaving)},
			names{apiName: addrs("10.0.0.1", "10.0.0.2", "10.0.0.3"), etcdA: addrs("10.0.0.1", "10.0.0.2"), etcdB: addrs("10.0.0.3")},
		},
		"a suspect counts, the dead and those that left do not": {
			[]Sighting{seen(1, a, Suspect, Healthy, Healthy), seen(2, a, Dead, Healthy, Healthy), seen(3, b, Left, Healthy, Healthy)},
			names{apiName: addrs("10.0.0.1"), etcdA: addrs("10.0.0.1")},
		},
		"a dead one is not the last resort": {
			[]Sighting{seen(1, a, Alive, Unhealthy, ""), seen(2, a, Dead, Healthy, Healthy)}, names{apiName: addrs("10.0.0.1")},
		},
		"each zone for itself": {
			[]Sighting{seen(1, a, Alive, Healthy, Unhealthy), seen(2, b, Alive, Healthy, Healthy)},
			names{apiName: addrs("10.0.0.1", "10.0.0.2"), etcdA: addrs("10.0.0.1"), etcdB: addrs("10.0.0.2")},
		},
		"etcd on nodes of its own, and one without a zone": {
			[]Sighting{seen(1, a, Alive, Healthy, ""), seen(2, a, Alive, "", Healthy), seen(3, "", Alive, "", Healthy)},
			names{apiName: addrs("10.0.0.1"), etcdA: addrs("10.0.0.2")},
		},
		"one address of two sightings": {
			[]Sighting{seen(1, a, Alive, Healthy, Healthy), seen(1, a, Suspect, Healthy, Healthy)},
			names{apiName: addrs("10.0.0.1"), etcdA: addrs("10.0.0.1")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Names("prod", test.peers)
			if diff := cmp.Diff(test.want, names(got), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			backwards := slices.Clone(test.peers)
			slices.Reverse(backwards)
			if !maps.EqualFunc(got, Names("prod", backwards), slices.Equal[[]netip.Addr]) {
				t.Error("other names when the peers come in another order")
			}
		})
	}
}
