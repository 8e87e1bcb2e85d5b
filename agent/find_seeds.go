package agent

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/discovery/route53"
)

// How often a node that hears of no master by gossip asks the store, the name servers and the configuration, and how soon it
// notices that it hears of none.
const (
	seedEvery  = 30 * time.Second
	seedNotice = 5 * time.Second
)

// sightings are all nodes that this one knows of, itself among them, and how they were found.
func (f *finding) sightings() (all []discovery.Sighting, mode string) {
	f.mu.Lock()
	g, self, seeds := f.gossip, f.self, f.seeded
	f.mu.Unlock()
	all = []discovery.Sighting{{Peer: self, State: discovery.Alive, Since: f.began(), Mode: "self"}}
	mode = "static"
	if g != nil {
		mode = "gossip"
		all = append(all, slices.DeleteFunc(g.Peers(), func(p discovery.Sighting) bool { return p.Instance == self.Instance })...)
	}
	if !slices.ContainsFunc(all, serves) {
		if len(seeds) > 0 {
			mode = seeds[0].Mode
		}
		all = append(all, seeds...)
	}
	slices.SortStableFunc(all, func(a, b discovery.Sighting) int { return order(a, b) })
	return all, mode
}

// serves tells whether a node has an API server, and lives.
func serves(p discovery.Sighting) bool { return p.API != "" && p.Living() }

// seek looks for masters in other ways while gossip knows of none.
func (f *finding) seek(ctx context.Context) {
	for next := 10 * time.Millisecond; pause(ctx, next); next = seedNotice {
		f.mu.Lock()
		g := f.gossip
		f.mu.Unlock()
		if f.own.API != "" || g != nil && slices.ContainsFunc(g.Peers(), serves) {
			continue
		}
		found := f.seeds(ctx)
		f.mu.Lock()
		f.seeded = found
		f.mu.Unlock()
		f.changed()
		if !pause(ctx, seedEvery-seedEvery/4+rand.N(seedEvery/2)) {
			return
		}
	}
}

// order is masters first, then by role and instance.
func order(a, b discovery.Sighting) int {
	switch {
	case (a.API != "") != (b.API != ""):
		if a.API != "" {
			return -1
		}
		return 1
	case a.Role != b.Role:
		return cmp.Compare(a.Role, b.Role)
	}
	return cmp.Compare(a.Instance, b.Instance)
}

func (f *finding) began() time.Time { return f.board.Snapshot().Agent.Started }

// seeds are the masters that are known without gossip: by the name servers, where Route 53 is kept, by those that announced
// themselves in the store, and by the configuration. Nobody knows whether they live: the proxy finds out.
func (f *finding) seeds(ctx context.Context) []discovery.Sighting {
	ctx, cancel := context.WithTimeout(ctx, seedEvery/2)
	defer cancel()
	port := port(f.n.config.APIURL())
	var all []discovery.Sighting
	add := func(instance string, addresses []netip.Addr, mode, through string) {
		known := func(s discovery.Sighting) bool { return s.Addresses[0] == addresses[0] }
		if len(addresses) == 0 || slices.ContainsFunc(all, known) {
			return
		}
		if instance == "" {
			instance = addresses[0].String()
		}
		all = append(all, discovery.Sighting{State: discovery.Alive, Since: time.Now().UTC(), Mode: mode, Through: through,
			Peer: discovery.Peer{Instance: instance, Role: "master", Addresses: addresses, APIPort: port, API: discovery.Healthy}})
	}
	if f.n.config.Discovery.Mode != "gossip" {
		for _, address := range f.lookup(ctx, discovery.APIName(f.n.config.Cluster)) {
			add("", []netip.Addr{address}, "route53", discovery.APIName(f.n.config.Cluster))
		}
	}
	seeds, err := discovery.Seeds(ctx, f.n.records)
	if err != nil {
		f.Logger.Info("seeds", "error", err)
	}
	for _, s := range seeds {
		add(s.Instance, s.Addresses, "seeds", discovery.SeedsKey)
	}
	for _, text := range f.n.config.Discovery.Masters {
		for _, address := range f.resolve(ctx, hostOf(text)) {
			add("", []netip.Addr{address}, "static", text)
		}
	}
	if len(all) == 0 && err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.seeded // nobody says anything: what was true last is the better guess
	}
	return all
}

// resolve is an address as it stands, or those of a name.
func (f *finding) resolve(ctx context.Context, text string) []netip.Addr {
	if address, err := netip.ParseAddr(text); err == nil {
		return []netip.Addr{address}
	}
	return f.lookup(ctx, text)
}

func (f *finding) lookup(ctx context.Context, name string) []netip.Addr {
	conf, err := f.host.Path("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	found, err := discovery.Resolver{Conf: conf}.Lookup(ctx, name)
	if err != nil {
		f.Logger.Debug("name servers", "name", name, "error", err)
	}
	return found
}

// gossipSeeds are where gossip may be joined. EC2 is asked by masters only, and only while they are alone: minions have no right
// to, and the others know somebody.
func (f *finding) gossipSeeds(ctx context.Context) []gossip.Seed {
	ctx, cancel := context.WithTimeout(ctx, seedEvery/2) // the peers on disk wait for the seeds
	defer cancel()
	port := uint16(f.n.config.Discovery.Gossip.Port)
	var all []gossip.Seed
	add := func(through string, addresses ...netip.Addr) {
		for _, address := range addresses {
			at := netip.AddrPortFrom(address, port)
			if !slices.Contains(f.own.Addresses, address) && !slices.ContainsFunc(all, func(s gossip.Seed) bool { return s.At == at }) {
				all = append(all, gossip.Seed{At: at, Through: through})
			}
		}
	}
	seeds, err := discovery.Seeds(ctx, f.n.records)
	if err != nil {
		f.Logger.Info("seeds", "error", err)
	}
	for _, s := range seeds {
		add("seeds", s.Addresses...)
	}
	for _, text := range f.n.config.Discovery.Masters {
		add("static", f.resolve(ctx, hostOf(text))...)
	}
	f.mu.Lock()
	alone := f.gossip == nil || f.gossip.Living() < 2
	f.mu.Unlock()
	if f.own.API != "" && alone && f.ec2.due() {
		tagged, err := f.tagged(ctx, nil)
		if err != nil {
			f.Logger.Info("instances of this cluster", "error", err)
		}
		for _, i := range tagged {
			add("tags", i...)
		}
	}
	return all
}

// keepZone has this master keep the cluster's names in Route 53, where there is a zone.
func (f *finding) keepZone() {
	d := f.n.config.Discovery
	if d.Mode == "gossip" {
		return
	}
	err := errors.New("no clients")
	if f.n.clients != nil {
		var api *route53.Client
		if api, err = route53.NewClient(context.Background(), f.n.clients); err == nil {
			f.zone, err = route53.New(route53.Options{Cluster: f.n.config.Cluster, ZoneID: d.ZoneID, ZoneName: d.ZoneName,
				API: api, Gone: f.gone, Logger: f.Logger})
		}
	}
	if err != nil {
		f.Logger.Warn("route53", "error", err)
		return
	}
	if r := f.metrics.Registry(); r != nil {
		_ = r.Register(f.zone) // registered already by an earlier attempt to boot: the same counts
	}
	f.spawn(func(ctx context.Context) {
		if err := f.zone.Run(ctx); err != nil && ctx.Err() == nil {
			f.Logger.Error("route53", "error", err)
		}
	})
}
