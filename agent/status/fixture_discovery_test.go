package status

import "fmt"

// What pages and metrics on discovery are drawn from, two hours after bootStart.

// fullDiscovery has every key of the file.
func fullDiscovery() *Discovery {
	return &Discovery{
		Mode: "seeds", Error: "gossip: no key: store s3://prod-store/k8s: discovery/keyring.json: 403 AccessDenied",
		Nodes: 1204, Masters: 3, Since: at(7010),
		Names: []Name{
			{"api.internal.prod", []string{"10.0.1.5", "10.0.2.5", "10.0.3.5"}},
			{"etcd-cn-north-1a.internal.prod", []string{"10.0.1.5"}},
			{"etcd-cn-north-1b.internal.prod", nil},
		},
		Proxy: &Proxy{Listen: "127.0.0.1:6443", Open: 14, Backends: []Backend{
			{"i-0abc12de34f567890", "10.0.1.5:6443", "up", 9}, {"i-0bbb12de34f567891", "10.0.2.5:6443", "unready", 5},
			{"i-0ccc12de34f567892", "10.0.3.5:6443", "down", 0}, {"i-0ddd12de34f567893", "10.0.3.6:6443", "unknown", 0},
		}},
		Route53: &Route53{
			Zone: "Z0123456789ABCDEFGHIJ internal.prod", State: "denied",
			Error: "zone Z0123456789ABCDEFGHIJ: route53: ChangeResourceRecordSets: 403 AccessDenied",
			Hint:  "allow route53:ChangeResourceRecordSets on the zone to the masters' role", Wrote: at(-day), Next: at(7450),
			Foreign: []string{"api.internal.prod A: an alias of another account"}, Held: []string{"10.0.3.7", "10.0.3.8"},
		},
	}
}

// discoveries are the cases that an operator may meet.
var discoveries = map[string]func() *Discovery{
	"full": fullDiscovery,
	"minion": func() *Discovery {
		d := fullDiscovery()
		d.Mode, d.Error, d.Route53, d.Names = "gossip", "", nil, d.Names[:1]
		d.Proxy.Backends = d.Proxy.Backends[:1]
		return d
	},
	"master": func() *Discovery {
		d := fullDiscovery()
		d.Mode, d.Error, d.Proxy, d.Since = "gossip", "", nil, at(-4*day)
		d.Route53 = &Route53{Zone: d.Route53.Zone, State: "ready", Wrote: at(3600)}
		return d
	},
	"master-waits": func() *Discovery {
		d := fullDiscovery()
		d.Proxy, d.Names, d.Nodes, d.Masters = nil, nil, 1, 1
		d.Mode, d.Error = "gossip", ""
		d.Route53 = &Route53{State: "unknown"}
		return d
	},
	"alone": func() *Discovery {
		return &Discovery{Mode: "static", Nodes: 1, Proxy: &Proxy{Listen: "127.0.0.1:6443", Open: 1}}
	},
}

// fullPeers are nodes of every kind; what some of them say of themselves is no good.
func fullPeers() *Peers {
	minion := func(n int) Peer {
		return Peer{Instance: fmt.Sprintf("i-0fff12de34f56%04d", n), Node: fmt.Sprintf("ip-10-0-9-%d.cn-north-1.compute.internal", n),
			Role: "minion", Zone: "cn-north-1a", Addresses: []string{fmt.Sprintf("10.0.9.%d", n)}, State: "alive", Since: at(-float64(n) * 3600),
			Mode: "gossip", Through: "seeds 10.0.1.5:3987", Agent: "v0.1.0"}
	}
	master := func(n int, zone string) Peer {
		return Peer{Instance: fmt.Sprintf("i-0abc12de34f5678%02d", n), Node: fmt.Sprintf("ip-10-0-%d-5.cn-north-1.compute.internal", n), Role: "master",
			Zone: zone, Addresses: []string{fmt.Sprintf("10.0.%d.5", n), fmt.Sprintf("2001:db8::%d", n)}, State: "alive", Since: at(-3 * day),
			API: "healthy", Etcd: "healthy", Mode: "gossip", Through: "disk 10.0.1.5:3987", Agent: "v0.1.0"}
	}
	peers := []Peer{
		minion(12), minion(3), master(3, "cn-north-1c"), master(1, "cn-north-1a"), master(2, "cn-north-1b"), minion(1), minion(8), minion(9),
		{Instance: "i-0123456789abcdef0", Role: "load\x1b[2Jbalancer", State: "alive", Mode: "static"},
	}
	peers[2].API, peers[2].Etcd, peers[2].State, peers[2].Since = "unhealthy", "starting", "suspect", at(7196)
	peers[5].State, peers[5].Since = "dead", at(7000)
	peers[6].API, peers[6].Etcd = "healthy", "healthy" // what it said last
	peers[6].State, peers[6].Since, peers[6].Role = "left", at(6900), "master"
	peers[7].State, peers[7].Since = "dead", at(6000) // longer ago than is counted
	return &Peers{Version: PeersVersion, Written: at(7190), Self: "i-0abc12de34f567801", Peers: peers}
}

// tinyPeers are named as their instances, and no master is among them.
func tinyPeers() *Peers {
	self := Peer{Instance: "i-0abc12de34f567890", Node: "i-0abc12de34f567890", Role: "minion", Addresses: []string{"10.0.1.5"}, State: "alive", Mode: "seeds"}
	return &Peers{Version: PeersVersion, Written: at(3600), Self: self.Instance, Peers: []Peer{self}}
}
