package status_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/apiproxy"
	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/discovery/gossip/gossiptest"
	"rekindle/agent/discovery/route53"
	"rekindle/agent/status"
)

// register has everything register its metrics that a node finds others with, and lets it live for a minute. It is for a
// bubble of testing/synctest.
func register(t *testing.T, m *status.Metrics) {
	t.Helper()
	self := discovery.Peer{Instance: "i-0abc12de34f567890", Node: "i-0abc12de34f567890", Role: "master", Zone: "cn-north-1a",
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.5")}, APIPort: 6443, API: discovery.Healthy}
	network := new(gossiptest.Network)
	at := netip.AddrPortFrom(self.Addresses[0], gossip.DefaultPort)
	g, err := gossip.Start(gossip.Options{Cluster: "prod", Self: self, Bind: at.Addr(), Keys: gossip.NewKeyring(time.Now()),
		Registry: m.Registry(), Transport: network.Transport(at)})
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := route53.New(route53.Options{Cluster: "prod", API: new(zone)})
	if err != nil {
		t.Fatal(err)
	}
	m.Registry().MustRegister(keeper)
	sighting := discovery.Sighting{Peer: self, State: discovery.Alive}
	if err := keeper.Update(route53.ViewOf("prod", self.Instance, []discovery.Sighting{sighting})); err != nil {
		t.Fatal(err)
	}
	proxy := apiproxy.New(apiproxy.Options{Name: discovery.APIName("prod"), Registerer: m.Registry()})
	proxy.SetBackends([]apiproxy.Backend{{Instance: self.Instance, Address: netip.AddrPortFrom(self.Addresses[0], 6443)}})

	ctx, stop := context.WithCancel(t.Context())
	var running errgroup.Group
	running.Go(func() error { return g.Run(ctx) })
	running.Go(func() error { return keeper.Run(ctx) })
	t.Cleanup(func() {
		stop()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	})
	nobody := gossip.Seed{At: netip.MustParseAddrPort("10.0.2.5:3987"), Through: "seeds"}
	if _, err := g.Join(ctx, []gossip.Seed{nobody}); err == nil {
		t.Error("nobody is there, and the join worked")
	}
	time.Sleep(time.Minute)
}

// zone is a hosted zone that takes everything and keeps nothing.
type zone struct{}

func (*zone) Zone(context.Context, string) (route53.Zone, error) {
	return route53.Zone{ID: "Z0123456789ABCDEFGHIJ", Name: "internal.prod.", Private: true}, nil
}

func (z *zone) ZonesNamed(ctx context.Context, name string) ([]route53.Zone, error) {
	one, err := z.Zone(ctx, name)
	return []route53.Zone{one}, err
}

func (*zone) Records(context.Context, string, route53.Place) ([]route53.Record, *route53.Place, error) {
	return nil, nil, nil
}

func (*zone) Change(context.Context, string, []route53.Change) error { return nil }
