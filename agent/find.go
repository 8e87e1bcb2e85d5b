package agent

import (
	"context"
	"crypto/x509"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rekindle/agent/apiproxy"
	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/discovery/route53"
	"rekindle/agent/etcd"
	"rekindle/agent/plan"
)

// What a node keeps about the others.
const (
	PeersPath   = "/run/rekindle/peers.json"
	HostsPath   = "/run/rekindle/hosts"                   // the cluster's names as hosts(5), for CoreDNS' hosts plugin
	gossipState = "/var/lib/rekindle/gossip/peers.json"   // the last peers, for the next start
	keysState   = "/var/lib/rekindle/gossip/keyring.json" // the last keys, too
)

// How often what is known of the others is looked at besides when it changes, and how often a node asks its own components how
// they are: a master's word is what others go by.
const (
	followEvery = 10 * time.Second
	followPause = 200 * time.Millisecond
	healthEvery = 2 * time.Second
	healthSoon  = 500 * time.Millisecond // while one has not been healthy yet
)

// finding is how this node finds the others, and what follows from whom it finds.
type finding struct {
	*Agent
	n      *node
	proxy  *apiproxy.Proxy // nil: this node has none
	listen netip.AddrPort  // of the proxy
	zone   *route53.Keeper // nil: this node keeps no zone
	moved  chan struct{}   // something changed
	looked chan struct{}   // closed when this node has asked its own components for the first time, or has none
	own    discovery.Peer  // who this node is, and what it has, as its boot began
	want   *plan.Plan      // of then: what it has does not change
	misses misses          // of its own components; watchSelf's alone
	ec2    patience

	mu     sync.Mutex
	self   discovery.Peer       // the same, with the health of this moment
	gossip *gossip.Gossip       // nil: it does not run
	off    string               // why it does not
	seeded []discovery.Sighting // masters as they are known without gossip
	since  time.Time            // of the last change of names
	said   string               // what was known then
}

// find begins, once, to look for the other nodes, to tell them of this one, and to keep the names by which they are called.
func (a *Agent) find(n *node) {
	a.searching.Do(func() {
		own := self(n, a.Version)
		if len(own.Addresses) == 0 {
			return // plan.Make has refused the node's address family
		}
		f := &finding{Agent: a, n: n, moved: make(chan struct{}, 1), looked: make(chan struct{}), own: own, want: n.want, misses: misses{}, self: own,
			since: time.Now()}
		if f.own.API != "" {
			f.keepZone()
			a.spawn(f.withdraw)
		} else if at, ok := proxied(n); ok {
			f.listen = at
			f.proxy = apiproxy.New(apiproxy.Options{Name: discovery.APIName(n.config.Cluster), Roots: a.apiRoots,
				Registerer: a.metrics.Registry(), Logger: a.Logger})
			a.spawn(f.serveProxy)
		}
		if f.gossips() {
			a.spawn(f.runGossip)
		}
		if f.own.API != "" || f.own.Etcd != "" {
			a.spawn(f.watchSelf)
		} else {
			close(f.looked)
		}
		a.spawn(f.seek)
		a.spawn(f.follow)
	})
}

// self is what this node tells of itself.
func self(n *node, version string) discovery.Peer {
	i := n.facts.Instance
	p := discovery.Peer{Instance: i.ID, Node: n.want.Node, Role: n.want.Role, Zone: i.Zone, Addresses: addresses(n), Version: version}
	if server, ok := ownServer(n.want); ok {
		p.API, p.APIPort = discovery.Starting, port(server)
	}
	if len(n.want.Etcd) > 0 {
		p.Etcd = discovery.Starting
	}
	return p
}

// gossips tells whether this node takes part.
func (f *finding) gossips() bool {
	d := f.n.config.Discovery
	return d.Mode != "route53" && (d.Gossip.Members == "all" || f.own.API != "" || f.own.Etcd != "")
}

// proxied is where this node has to listen for those of its clients that ask for the API servers by the cluster's own name.
func proxied(n *node) (at netip.AddrPort, ok bool) {
	server, err := url.Parse(n.config.APIURL())
	kubelet := slices.ContainsFunc(n.want.Units, func(u plan.Unit) bool { return u.Name == "kubelet.service" })
	if err != nil || server.Hostname() != discovery.APIName(n.config.Cluster) || !kubelet || n.config.APIProxy.Mode == "off" {
		return at, false
	}
	address := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if own := n.facts.Instance.PrivateIPv4; own.IsLoopback() { // nodes that are processes of one machine
		address = own
	}
	return netip.AddrPortFrom(address, uint16(port(n.config.APIURL()))), true
}

// port is that of an https URL.
func port(text string) int {
	u, err := url.Parse(text)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		return 443
	}
	return n
}

// serveProxy carries connections to the API servers until ctx ends. A port that somebody else uses is tried again.
func (f *finding) serveProxy(ctx context.Context) {
	for {
		listeners, err := apiproxy.Listeners(ctx, "api", f.listen)
		if err == nil {
			f.board.APIProxyOff(nil)
			err = f.proxy.Run(ctx, listeners...)
		}
		if ctx.Err() != nil {
			return
		}
		f.board.APIProxyOff(err)
		f.Logger.Error("the API servers cannot be reached through this node's proxy", "listen", f.listen, "error", err)
		if !pause(ctx, listenPause) {
			return
		}
	}
}

// apiRoots are whom API servers have their certificates from; nil as long as nobody knows.
func (a *Agent) apiRoots() *x509.CertPool {
	trusted, err := a.host.Read(authorityFiles["kubernetes"])
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(trusted) {
		return nil
	}
	return roots
}

// changed asks for another look.
func (f *finding) changed() {
	select {
	case f.moved <- struct{}{}:
	default: // there is going to be one
	}
}

// watchSelf asks this node's own components how they are, and tells the others when that changes.
func (f *finding) watchSelf(ctx context.Context) {
	now := f.lookAtSelf(ctx)
	close(f.looked)
	for {
		wait := healthEvery
		if now.API == discovery.Starting || now.Etcd == discovery.Starting {
			wait = healthSoon
		}
		if !pause(ctx, wait) {
			return
		}
		now = f.lookAtSelf(ctx)
	}
}

// lookAtSelf asks once, and returns what this node says of itself from now on.
func (f *finding) lookAtSelf(ctx context.Context) discovery.Peer {
	f.mu.Lock()
	was := f.self
	f.mu.Unlock()
	now := was
	if was.API != "" {
		now.API = f.misses.next("api", was.API, f.apiHealthy(ctx, f.want))
	}
	if len(f.want.Etcd) > 0 {
		var err error
		for _, member := range f.want.Etcd {
			if err = etcd.Healthy(ctx, member); err != nil {
				break
			}
		}
		now.Etcd = f.misses.next("etcd", was.Etcd, err)
	}
	if now.API == was.API && now.Etcd == was.Etcd || ctx.Err() != nil {
		return was
	}
	f.Logger.Info("own health", "api", now.API, "etcd", now.Etcd)
	f.mu.Lock()
	f.self = now
	g := f.gossip
	f.mu.Unlock()
	if g != nil {
		if err := g.Update(now); err != nil {
			f.Logger.Warn("the others do not learn of this node's health", "error", err)
		}
	}
	f.changed()
	return now
}

// misses are how often in a row components did not say that they are healthy.
type misses map[string]int

// next is the health after a question: what has never been healthy is starting, and one failure is none yet, for the others
// take an unhealthy master out of the names.
func (m misses) next(component string, was discovery.Health, err error) discovery.Health {
	if err == nil {
		m[component] = 0
		return discovery.Healthy
	}
	m[component]++
	if was == discovery.Starting || m[component] < 2 {
		return was
	}
	return discovery.Unhealthy
}

// follow keeps what depends on who lives: the names, the proxy's backends, the zone, and what an operator sees.
func (f *finding) follow(ctx context.Context) {
	for {
		all, mode := f.sightings()
		f.apply(ctx, all, mode)
		select {
		case <-ctx.Done():
			return
		case <-f.moved:
			if !pause(ctx, followPause) { // what changes together is told together
				return
			}
		case <-time.After(followEvery):
		}
	}
}

// apply does what follows from who is seen.
func (f *finding) apply(ctx context.Context, all []discovery.Sighting, mode string) {
	cluster := f.n.config.Cluster
	usable := lastResort(all)
	names := discovery.Names(cluster, usable)
	if err := f.publish(ctx, names); err != nil {
		f.Logger.Warn("the cluster's names", "path", HostsPath, "error", err)
	}
	if f.proxy != nil {
		f.proxy.SetBackends(backends(usable))
		names = maps.Clone(names)
		names[discovery.APIName(cluster)] = []netip.Addr{f.listen.Addr()}
	}
	if _, err := f.host.Block(ctx, "/etc/hosts", "names", hostLines(names)); err != nil && ctx.Err() == nil {
		f.Logger.Warn("the cluster's names", "path", "/etc/hosts", "error", err)
	}
	if f.zone != nil && mode == "gossip" {
		if err := f.zone.Update(route53.ViewOf(cluster, f.own.Instance, all)); err != nil {
			f.Logger.Warn("route53", "error", err)
		}
	}
	f.tellPeers(all, names, mode)
}

// hostOf is the host of "host", "host:port", "[host]" or "[host]:port".
func hostOf(text string) string {
	if h, _, err := net.SplitHostPort(text); err == nil {
		return h
	}
	return strings.Trim(text, "[]")
}
