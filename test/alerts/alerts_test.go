// Package alerts holds docs/alerts.yaml against what a node really tells: Prometheus' own code reads the rules, and they
// fire when they should, and only then.
//
// It is a module of its own: Prometheus brings other versions of what etcd's server needs than the tests beside it.
package alerts

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rekindle/agent/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 24 * time.Hour

// node is one whose metrics are scraped every minute.
type node struct {
	address string
	board   *status.Board
	metrics *status.Metrics
	down    bool // does not answer scrapes
	hung    bool // applies no plan
}

func (n *node) join(reason string) { n.metrics.Joined(reason, "i-0fedcba9876543210", time.Second) }

// healthy is a master that has been ready for a while.
func healthy(t *testing.T) *node {
	return master(t, "10.0.1.5:3989")
}

func master(t *testing.T, address string) *node {
	board := status.NewBoard(filepath.Join(t.TempDir(), "status.json"), "v1", nil)
	if err := board.Close(); err != nil { // it goes on without its file: days of heartbeats would be most of the work here
		t.Fatal(err)
	}
	board.SetIdentity(status.Identity{Cluster: "prod", Role: "master", Instance: "i-0abc12de34f567890"})
	board.SetUnits(status.Unit{Name: "kubelet.service", State: "active"})
	board.SetAuthorities([]status.Authority{{Name: "kubernetes", NotAfter: time.Now().Add(3650 * day)}, {Name: "service-account"}})
	board.SetCertificates(certificate(19*day, 9*day))
	board.JoinServing("[::]:3988")
	board.Applied("9f86d081", time.Second)
	board.Ready()
	return &node{address: address, board: board, metrics: status.NewMetrics(board, "Granted", "Busy", "Replayed")}
}

func certificate(expires, renew time.Duration) []status.Certificate {
	return []status.Certificate{{Path: "/etc/kubernetes/pki/apiserver.crt", Authority: "kubernetes",
		NotAfter: time.Now().Add(expires), RenewAfter: time.Now().Add(renew)}}
}

// TestAlerts lets a node live well for a while, then has something happen to it every minute: after how long do alerts
// fire, and which?
func TestAlerts(t *testing.T) {
	rules := readRules(t)
	unseen := map[string]bool{}
	for _, rule := range rules {
		unseen[rule.Alert] = !strings.HasPrefix(rule.Alert, etcdAlerts) && !ofDiscovery(rule.Alert)
	}
	for _, tc := range []struct {
		name  string
		first func(*node)               // happens once
		every func(n *node, minute int) // happens every minute
		lasts time.Duration
		fires []string
	}{
		{"all is well", nil, func(n *node, _ int) { n.join("Granted") }, 2 * time.Hour, nil},
		{"the agent is gone", func(n *node) { n.down = true }, nil, 6 * time.Minute, []string{"RekindleDown"}},
		{"it failed", func(n *node) { n.board.Fail(errors.New("x")) }, nil, 16 * time.Minute, []string{"RekindleNotReady"}},
		{"it boots for long", func(n *node) { n.board.Booting("x") }, nil, 16 * time.Minute, []string{"RekindleNotReady"}},
		{"it boots in time", func(n *node) { n.board.Booting("x") }, func(n *node, minute int) {
			if minute == 10 {
				n.board.Ready()
			}
		}, 30 * time.Minute, nil},
		{"a warning stays", func(n *node) { n.board.Warn(status.ReasonManifestStale, "", "x") }, nil, 62 * time.Minute, []string{"RekindleWarning"}},
		{"resyncs hang", func(n *node) { n.hung = true }, nil, 67 * time.Minute, []string{"RekindleNotApplied"}},
		{"renewal is overdue", func(n *node) { n.board.SetCertificates(certificate(10*day, -5*time.Hour)) }, nil, 67 * time.Minute,
			[]string{"RekindleCertificateOverdue"}},
		{"renewal is due", func(n *node) { n.board.SetCertificates(certificate(10*day, -time.Hour)) }, nil, time.Hour, nil},
		{"a certificate expires", func(n *node) { n.board.SetCertificates(certificate(7*day, day)) }, nil, 7 * time.Minute,
			[]string{"RekindleCertificateExpiring"}},
		{"a certificate expired", func(n *node) { n.board.SetCertificates(certificate(-day, day)) }, nil, 7 * time.Minute,
			[]string{"RekindleCertificateExpiring"}},
		{"an authority expires", func(n *node) {
			n.board.SetAuthorities([]status.Authority{{Name: "etcd", NotAfter: time.Now().Add(89 * day)}})
		}, nil, 62 * time.Minute, []string{"RekindleAuthorityExpiring"}},
		{"nodes are refused", nil, func(n *node, _ int) { n.join("Replayed") }, 13 * time.Minute, []string{"RekindleJoinRefused"}},
		{"nodes are refused for a reason that the list lacks", nil, func(n *node, _ int) { n.join("New") }, 13 * time.Minute,
			[]string{"RekindleJoinRefused"}},
		{"one node is refused at first", func(n *node) { n.join("Replayed") }, nil, 30 * time.Minute, nil},
		{"it cannot keep up", nil, func(n *node, _ int) { n.join("Busy") }, 13 * time.Minute, []string{"RekindleJoinOverloaded"}},
	} {
		for _, alert := range tc.fires {
			delete(unseen, alert)
		}
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, p := healthy(t), newPrometheus(rules)
				live := func(minutes int, every func(*node, int)) {
					for minute := range minutes {
						if every != nil {
							every(n, minute)
						}
						if minute%10 == 0 && !n.hung {
							n.board.Applied("9f86d081", time.Second)
						}
						p.scrape(t, n)
						p.evaluate(t)
						time.Sleep(time.Minute)
					}
				}
				live(20, nil)
				if len(p.fired) > 0 {
					t.Errorf("before anything happened: %v", slices.Sorted(maps.Keys(p.fired)))
				}
				if tc.first != nil {
					tc.first(n)
				}
				live(int(tc.lasts/time.Minute), tc.every)
				p.check(t, tc.lasts, tc.fires)
			})
		})
	}
	everyOneFired(t, unseen)
}

// check compares what fired, and looks whether its texts say something.
func (p *prometheus) check(t *testing.T, lasted time.Duration, fires []string) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(p.fired)); !slices.Equal(got, fires) {
		t.Errorf("after %s fired %v, want %v", lasted, got, fires)
	}
	for alert, text := range p.fired {
		if text == "" || strings.Contains(text, "<no value>") || strings.Contains(text, "{{") {
			t.Errorf("%s says %q", alert, text)
		}
	}
}

func everyOneFired(t *testing.T, unseen map[string]bool) {
	t.Helper()
	for alert, is := range unseen {
		if is {
			t.Errorf("%s is never seen firing", alert)
		}
	}
}
