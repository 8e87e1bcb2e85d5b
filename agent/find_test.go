package agent

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rekindle/agent/apiproxy"
	"rekindle/agent/config"
	"rekindle/agent/discovery"
	"rekindle/agent/facts"
	"rekindle/agent/plan"
)

func TestHostLines(t *testing.T) {
	names := map[string][]netip.Addr{
		"etcd-a.internal.prod": {netip.MustParseAddr("10.0.0.1")},
		"api.internal.prod":    {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::2")},
		"empty.internal.prod":  nil,
	}
	want := "10.0.0.1 api.internal.prod\nfd00::2 api.internal.prod\n10.0.0.1 etcd-a.internal.prod\n"
	for range 20 { // maps have no order
		if got := string(hostLines(names)); got != want {
			t.Fatalf("got\n%swant\n%s", got, want)
		}
	}
	if got := hostLines(nil); len(got) != 0 {
		t.Errorf("no names became %q", got)
	}
}

// A node listens for its own clients only where they ask for the API servers by the cluster's own name, and it has a kubelet.
func TestProxied(t *testing.T) {
	kubelet := []plan.Unit{{Name: "containerd.service"}, {Name: "kubelet.service"}}
	for name, test := range map[string]struct {
		endpoint, mode, address string
		units                   []plan.Unit
		want                    string // "": nowhere
	}{
		"by default":                        {units: kubelet, address: "10.0.0.7", want: "127.0.0.1:6443"},
		"by IPv6 alone":                     {units: kubelet, want: "127.0.0.1:6443"},
		"the name with a port":              {units: kubelet, address: "10.0.0.7", endpoint: "https://api.internal.prod:8443", want: "127.0.0.1:8443"},
		"the name alone":                    {units: kubelet, address: "10.0.0.7", endpoint: "https://api.internal.prod", want: "127.0.0.1:443"},
		"a laboratory, at its own loopback": {units: kubelet, address: "127.3.0.7", want: "127.3.0.7:6443"},
		"a load balancer":                   {units: kubelet, address: "10.0.0.7", endpoint: "https://lb.example:6443"},
		"another cluster's":                 {units: kubelet, address: "10.0.0.7", endpoint: "https://api.internal.other:6443"},
		"no kubelet":                        {units: kubelet[:1], address: "10.0.0.7"},
		"off":                               {units: kubelet, address: "10.0.0.7", mode: "off"},
		"no URL":                            {units: kubelet, address: "10.0.0.7", endpoint: "https://[::1"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{inputs: new(inputs), want: &plan.Plan{Units: test.units}}
			n.config = *config.Default()
			n.config.Cluster, n.config.Kubernetes.APIEndpoint = "prod", test.endpoint
			if test.mode != "" {
				n.config.APIProxy.Mode = test.mode
			}
			if test.address != "" {
				n.facts.Instance = facts.Instance{PrivateIPv4: netip.MustParseAddr(test.address)}
			}
			at, ok := proxied(n)
			got := ""
			if ok {
				got = at.String()
			}
			if got != test.want {
				t.Errorf("listens at %q, want %q", got, test.want)
			}
		})
	}
}

// A component that was never healthy is starting, however often it was asked; one that was, is unhealthy after two failures in a
// row, until it is healthy again.
func TestNextHealth(t *testing.T) {
	no := errors.New("no answer")
	health, m := discovery.Starting, misses{}
	for i, step := range []struct {
		err  error
		want discovery.Health
	}{
		{no, discovery.Starting}, {no, discovery.Starting}, {nil, discovery.Healthy}, {nil, discovery.Healthy},
		{no, discovery.Healthy}, {no, discovery.Unhealthy}, {no, discovery.Unhealthy}, {nil, discovery.Healthy},
		{no, discovery.Healthy}, {nil, discovery.Healthy}, {no, discovery.Healthy}, {no, discovery.Unhealthy},
	} {
		m.next("another", discovery.Healthy, nil)
		if health = m.next("api", health, step.err); health != step.want {
			t.Fatalf("step %d, error %v: %s, want %s", i, step.err, health, step.want)
		}
	}
}

// A node that is cut off sees one master die after the other: none of them is left out of its names then.
func TestLastResort(t *testing.T) {
	seen := func(name string, state discovery.State, api discovery.Health) discovery.Sighting {
		return discovery.Sighting{State: state, Peer: discovery.Peer{Instance: name, API: api, APIPort: 6443,
			Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}}
	}
	names := func(all []discovery.Sighting) (names []string) {
		for _, b := range backends(lastResort(all)) {
			names = append(names, b.Instance)
		}
		return names
	}
	minion := seen("minion", discovery.Dead, "")
	one := []discovery.Sighting{seen("a", discovery.Dead, discovery.Healthy), seen("b", discovery.Alive, discovery.Unhealthy), minion}
	if got := names(one); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%v, while b lives", got)
	}
	none := []discovery.Sighting{seen("a", discovery.Dead, discovery.Healthy), seen("b", discovery.Dead, discovery.Unhealthy),
		seen("c", discovery.Left, discovery.Healthy), minion}
	if got := names(none); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v, while nobody lives", got)
	}
	if none[0].State != discovery.Dead {
		t.Error("what is shown says that they live")
	}
}

func TestBackends(t *testing.T) {
	seen := func(name string, state discovery.State, api discovery.Health, port int) discovery.Sighting {
		return discovery.Sighting{State: state, Peer: discovery.Peer{Instance: name, API: api, APIPort: port,
			Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}}}
	}
	got := backends([]discovery.Sighting{
		seen("healthy", discovery.Alive, discovery.Healthy, 6443), seen("suspect", discovery.Suspect, discovery.Healthy, 6443),
		seen("unhealthy", discovery.Alive, discovery.Unhealthy, 6443), seen("leaving", discovery.Alive, discovery.Leaving, 8443),
		seen("dead", discovery.Dead, discovery.Healthy, 6443), seen("left", discovery.Left, discovery.Healthy, 6443),
		seen("minion", discovery.Alive, "", 0), seen("portless", discovery.Alive, discovery.Healthy, 0),
	})
	at := netip.MustParseAddrPort("10.0.0.1:6443")
	want := []apiproxy.Backend{
		{Instance: "healthy", Address: at, Health: discovery.Healthy}, {Instance: "suspect", Address: at, Health: discovery.Healthy},
		{Instance: "unhealthy", Address: at, Health: discovery.Unhealthy}, // its own word is not the last: the proxy checks it
		{Instance: "leaving", Address: netip.MustParseAddrPort("10.0.0.1:8443"), Health: discovery.Leaving},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSightingsAreInOrder(t *testing.T) {
	peer := func(instance, role string, api discovery.Health) discovery.Sighting {
		return discovery.Sighting{Peer: discovery.Peer{Instance: instance, Role: role, API: api}}
	}
	all := []discovery.Sighting{
		peer("i-5", "minion", ""), peer("i-2", "loadbalancer", ""), peer("i-9", "master", discovery.Unhealthy),
		peer("i-1", "minion", ""), peer("i-3", "master", discovery.Healthy),
	}
	slices.SortFunc(all, order)
	var got []string
	for _, p := range all {
		got = append(got, p.Instance)
	}
	if want := []string{"i-3", "i-9", "i-2", "i-1", "i-5"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHostOf(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "10.0.0.1:7946": "10.0.0.1", "[fd00::1]:7946": "fd00::1", "fd00::1": "fd00::1", "[fd00::1]": "fd00::1",
		"master.example": "master.example", "master.example:1": "master.example",
	} {
		if got := hostOf(in); got != want {
			t.Errorf("%s became %q, want %q", in, got, want)
		}
	}
}
