package alerts

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	client "github.com/prometheus/client_golang/prometheus"

	"rekindle/agent/status"
)

// discoveryAlerts is what the names of the alerts on discovery begin with.
var discoveryAlerts = []string{"RekindleNoMaster", "RekindleGossip", "RekindleAPIProxy", "RekindleRoute53"}

func ofDiscovery(alert string) bool {
	return slices.ContainsFunc(discoveryAlerts, func(prefix string) bool { return strings.HasPrefix(alert, prefix) })
}

// finder is a node with what gossip, the API proxy and Route 53 tell on it. That they tell these very series is proved
// beside package status, which compares the rules with a scrape of them.
type finder struct {
	*node
	discovery status.Discovery

	members, backends, zone    *client.GaugeVec
	changes, refused, failures *client.CounterVec
	drained                    client.Counter
	available, foreign         client.Gauge
}

func newFinder(t *testing.T, address string) *finder {
	gauge := func(name string, labels ...string) *client.GaugeVec {
		return client.NewGaugeVec(client.GaugeOpts{Name: "rekindle_" + name}, labels)
	}
	counter := func(name string, labels ...string) *client.CounterVec {
		return client.NewCounterVec(client.CounterOpts{Name: "rekindle_" + name}, labels)
	}
	f := &finder{
		node: master(t, address), discovery: status.Discovery{Mode: "gossip", Nodes: 100, Masters: 3},
		members: gauge("gossip_members", "state"), backends: gauge("apiproxy_backend_state", "backend", "state"),
		zone: gauge("route53_state", "state"), changes: counter("gossip_changes_total", "event"),
		refused: counter("gossip_refused_total", "reason"), failures: counter("apiproxy_failures_total", "reason"),
		drained:   client.NewCounter(client.CounterOpts{Name: "rekindle_apiproxy_drained_total"}),
		available: client.NewGauge(client.GaugeOpts{Name: "rekindle_route53_available"}),
		foreign:   client.NewGauge(client.GaugeOpts{Name: "rekindle_route53_foreign_records"}),
	}
	f.metrics.Registry().MustRegister(f.members, f.backends, f.zone, f.changes, f.refused, f.failures, f.drained, f.available, f.foreign)
	for _, reason := range []string{"malformed", "label", "key", "replayed", "cluster", "busy"} {
		f.refused.WithLabelValues(reason)
	}
	for _, reason := range []string{"accept", "dial_refused", "dial_local", "no_backend", "lost"} {
		f.failures.WithLabelValues(reason)
	}
	f.changes.WithLabelValues("leave")
	f.see(99, 0)
	f.backend("i-1", "up")
	f.backend("i-2", "up")
	f.route53("ready")
	return f
}

// see says how many others there are.
func (f *finder) see(alive, gone int) {
	f.members.WithLabelValues("alive").Set(float64(alive))
	f.members.WithLabelValues("suspect").Set(0)
	f.members.WithLabelValues("dead").Set(float64(gone))
	f.members.WithLabelValues("left").Set(0)
}

func (f *finder) backend(instance, is string) {
	for _, state := range []string{"up", "unready", "down", "unknown"} {
		f.backends.WithLabelValues(instance, state).Set(truth(state == is))
	}
}

func (f *finder) route53(is string) {
	for _, state := range []string{"unknown", "ready", "missing", "unfit", "denied", "throttled", "silent", "failing"} {
		f.zone.WithLabelValues(state).Set(truth(state == is))
	}
	f.available.Set(truth(is == "ready"))
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// live lets nodes live for a while, and Prometheus look at them.
func live(t *testing.T, p *prometheus, nodes []*finder, lasts time.Duration, every func(minute int)) {
	t.Helper()
	for minute := range int(lasts / time.Minute) {
		if every != nil {
			every(minute)
		}
		for _, f := range nodes {
			f.board.Applied("9f86d081", time.Second)
			f.board.Discovered(f.discovery)
			p.scrape(t, f.node)
		}
		p.evaluate(t)
		time.Sleep(time.Minute)
	}
}

// TestDiscoveryAlerts has something happen to the first of three nodes: nothing may fire within quiet, and these by the
// end.
func TestDiscoveryAlerts(t *testing.T) {
	rules := readRules(t)
	unseen := map[string]bool{}
	for _, rule := range rules {
		unseen[rule.Alert] = ofDiscovery(rule.Alert)
	}
	every := func(do func(f *finder)) func(*finder, int) { return func(f *finder, _ int) { do(f) } }
	once := func(do func(f *finder)) func(*finder, int) {
		return func(f *finder, minute int) {
			if minute == 0 {
				do(f)
			}
		}
	}
	for _, tc := range []struct {
		name         string
		happens      func(f *finder, minute int)
		quiet, lasts time.Duration
		fires        []string
	}{
		{"all is well", every(func(*finder) {}), 0, 2 * time.Hour, nil},
		{"no master lives", once(func(f *finder) { f.discovery.Masters = 0 }), time.Minute, 2 * time.Minute, []string{"RekindleNoMaster"}},
		{"a master is replaced", func(f *finder, minute int) { f.discovery.Masters = min(minute, 3) }, 0, 10 * time.Minute, nil},
		{"it is apart", once(func(f *finder) { f.see(49, 50) }), 10 * time.Minute, 11 * time.Minute, []string{"RekindleGossipApart"}},
		{"it is alone", once(func(f *finder) { f.see(0, 0) }), 10 * time.Minute, 11 * time.Minute, []string{"RekindleGossipApart"}},
		{"it sees a few less", once(func(f *finder) { f.see(90, 9) }), 0, 30 * time.Minute, nil},
		{"others are suspect", once(func(f *finder) {
			f.see(49, 0)
			f.members.WithLabelValues("suspect").Set(50)
		}), 0, 30 * time.Minute, nil},
		{"others come and go", every(func(f *finder) { f.changes.WithLabelValues("leave").Add(2) }), 5 * time.Minute, 12 * time.Minute,
			[]string{"RekindleGossipFlapping"}},
		{"many are replaced at once", func(f *finder, minute int) {
			switch minute {
			case 0:
				f.changes.WithLabelValues("leave").Add(30)
				f.see(99, 30)
			case 10:
				f.see(99, 0)
			}
		}, 0, 40 * time.Minute, nil},
		{"one comes and goes", func(f *finder, minute int) {
			if minute%5 == 0 {
				f.changes.WithLabelValues("leave").Inc()
			}
		}, 0, 40 * time.Minute, nil},
		{"an old key", every(func(f *finder) { f.refused.WithLabelValues("key").Inc() }), 10 * time.Minute, 12 * time.Minute, []string{"RekindleGossipForeign"}},
		{"another cluster", every(func(f *finder) { f.refused.WithLabelValues("label").Inc() }), 10 * time.Minute, 12 * time.Minute,
			[]string{"RekindleGossipForeign"}},
		{"one packet of another cluster", once(func(f *finder) { f.refused.WithLabelValues("label").Inc() }), 0, 40 * time.Minute, nil},
		{"a scanner", every(func(f *finder) { f.refused.WithLabelValues("malformed").Inc() }), 0, 40 * time.Minute, nil},
		{"no API server is up", once(func(f *finder) {
			f.backend("i-1", "down")
			f.backend("i-2", "unready")
		}), 2 * time.Minute, 3 * time.Minute, []string{"RekindleAPIProxyNoBackend"}},
		{"no API server is known", once(func(f *finder) { f.backends.Reset() }), 2 * time.Minute, 3 * time.Minute, []string{"RekindleAPIProxyNoBackend"}},
		{"one API server is down", once(func(f *finder) { f.backend("i-1", "down") }), 0, 30 * time.Minute, nil},
		{"clients are turned away", every(func(f *finder) { f.failures.WithLabelValues("no_backend").Inc() }), 5 * time.Minute, 7 * time.Minute,
			[]string{"RekindleAPIProxyFailing"}},
		{"no descriptors are left", every(func(f *finder) { f.failures.WithLabelValues("dial_local").Inc() }), 5 * time.Minute, 7 * time.Minute,
			[]string{"RekindleAPIProxyFailing"}},
		{"connections break", every(func(f *finder) { f.failures.WithLabelValues("lost").Inc() }), 0, 30 * time.Minute, nil},
		{"Route 53 goes silent", once(func(f *finder) { f.route53("silent") }), 15 * time.Minute, 16 * time.Minute, []string{"RekindleRoute53Failing"}},
		{"the zone is gone", once(func(f *finder) { f.route53("missing") }), 15 * time.Minute, 16 * time.Minute, []string{"RekindleRoute53Failing"}},
		{"Route 53 throttles for a while", func(f *finder, minute int) {
			if f.route53("ready"); minute < 14 {
				f.route53("throttled")
			}
		}, 0, 40 * time.Minute, nil},
		{"names are taken", once(func(f *finder) { f.foreign.Set(2) }), 15 * time.Minute, 16 * time.Minute, []string{"RekindleRoute53Foreign"}},
	} {
		for _, alert := range tc.fires {
			delete(unseen, alert)
		}
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPrometheus(rules)
				nodes := []*finder{newFinder(t, "10.0.1.5:3989"), newFinder(t, "10.0.2.5:3989"), newFinder(t, "10.0.3.5:3989")}
				live(t, p, nodes, 20*time.Minute, nil)
				p.check(t, 20*time.Minute, nil)
				live(t, p, nodes, tc.quiet, func(minute int) { tc.happens(nodes[0], minute) })
				if tc.quiet > 0 {
					p.check(t, tc.quiet, nil)
				}
				live(t, p, nodes, tc.lasts-tc.quiet, func(minute int) { tc.happens(nodes[0], minute+int(tc.quiet/time.Minute)) })
				p.check(t, tc.lasts, tc.fires)
			})
		})
	}
	everyOneFired(t, unseen)
}

// A cluster without Route 53 is as it should be, unless Route 53 is there and refuses.
func TestRoute53WasNeverThere(t *testing.T) {
	for state, fires := range map[string][]string{
		"missing": nil, "silent": nil, "unknown": nil, "denied": {"RekindleRoute53Failing"}, "unfit": {"RekindleRoute53Failing"},
	} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, p := newFinder(t, "10.0.1.5:3989"), newPrometheus(readRules(t))
				f.route53(state)
				live(t, p, []*finder{f}, 20*time.Minute, nil)
				p.check(t, 20*time.Minute, fires)
			})
		})
	}
}
