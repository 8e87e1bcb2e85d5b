package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Peer is a living node of the cluster, as others see it.
type Peer struct {
	Instance string `json:"instance"`
	Node     string `json:"node"` // its Kubernetes name
	Role     string `json:"role"`
	Zone     string `json:"zone"`
	// Addresses are those that others reach it at, the best first; at least one.
	Addresses []netip.Addr `json:"addresses"`
	// APIPort is its API server's; 0: it has none.
	APIPort int    `json:"apiPort,omitempty"`
	API     Health `json:"api,omitempty"`  // of the API server, as the node itself sees it
	Etcd    Health `json:"etcd,omitempty"` // of all its etcd members together
	// Version is the agent's.
	Version string `json:"version,omitempty"`
}

// Health is what a node says of one of its own components.
type Health string

// The words for it. A component that a node does not have is "".
const (
	Healthy   Health = "healthy"
	Starting  Health = "starting" // has not been healthy since the agent's start
	Unhealthy Health = "unhealthy"
	Leaving   Health = "leaving" // healthy, and about to stop: no new connections
)

// State is where a peer is in its life, as this node sees it.
type State string

// The states. Dead and left peers are kept for a while to be shown, and count nowhere.
const (
	Alive   State = "alive"
	Suspect State = "suspect" // did not answer the last probes; still counts
	Dead    State = "dead"
	Left    State = "left"
)

// Sighting is a peer, and how and since when this node knows of it.
type Sighting struct {
	Peer
	State State     `json:"state"`
	Since time.Time `json:"since"` // of the state
	// Mode is how it was found: "gossip", "route53" or "static". Through is the seed or source that led there:
	// "disk", "seeds", "tags" or "static", and the address.
	Mode    string `json:"mode"`
	Through string `json:"through,omitempty"`
}

// Living tells whether a sighting counts.
func (s Sighting) Living() bool { return s.State == Alive || s.State == Suspect }

// Names maps the cluster's names to addresses: what the hosts block, Route 53 and CoreDNS are to say. They are computed
// from living peers, so what dies disappears:
//
//   - api.internal.<cluster>: the masters whose API server is healthy; when none is, all that have one
//   - etcd-<zone>.internal.<cluster>: the nodes of a zone whose etcd is healthy; when none is, all that have one
//
// Addresses are in order, so equal peers make equal names.
func Names(cluster string, peers []Sighting) map[string][]netip.Addr {
	names := map[string][]netip.Addr{}
	pick := func(name string, has func(Peer) Health) {
		var good, all []netip.Addr
		for _, p := range peers {
			health := has(p.Peer)
			if health == "" || !p.Living() {
				continue
			}
			all = append(all, p.Addresses[0])
			if health == Healthy {
				good = append(good, p.Addresses[0])
			}
		}
		if len(good) == 0 {
			good = all
		}
		if len(good) > 0 {
			slices.SortFunc(good, netip.Addr.Compare)
			names[name] = slices.Compact(good)
		}
	}
	pick(APIName(cluster), func(p Peer) Health { return p.API })
	zones := map[string]bool{}
	for _, p := range peers {
		if p.Etcd == "" || p.Zone == "" || zones[p.Zone] {
			continue
		}
		zone := p.Zone
		zones[zone] = true
		pick(fmt.Sprintf("etcd-%s.internal.%s", zone, cluster), func(p Peer) Health {
			if p.Zone != zone {
				return ""
			}
			return p.Etcd
		})
	}
	return names
}

// APIName is the name by which nodes call the API servers.
func APIName(cluster string) string { return "api.internal." + cluster }
