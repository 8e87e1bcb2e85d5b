package etcd

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// joined has a hand's keeper join, and returns etcd's configuration.
func joined(t *testing.T, w *world, a *agent) map[string]any {
	t.Helper()
	text, err := a.keeper.Prepare(w.ctx, a.member)
	if err != nil {
		w.locked(func() { w.fail("%v", err) })
		return nil
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		w.locked(func() { w.fail("%v", err) })
	}
	return config
}

// A joiner is in the record before it is in etcd, and starts with the names of all members, its own last.
func TestJoin(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(2, 0)
		a := w.hand()
		config := joined(t, w, a)
		var urls []string
		for _, m := range w.record.Members {
			urls = append(urls, m.Name+"="+m.PeerURL)
		}
		for key, want := range map[string]any{
			"name": "i-hand", "initial-cluster": strings.Join(urls, ","), "initial-cluster-state": "existing", "initial-cluster-token": w.record.Token,
			"initial-advertise-peer-urls": "https://i-hand.etcd.test:2380", "advertise-client-urls": "https://i-hand.etcd.test:2379",
			"strict-reconfig-check": true, "data-dir": "/var/lib/etcd/data", "quota-backend-bytes": 8.0,
		} {
			if config[key] != want {
				t.Errorf("%s is %v, want %v", key, config[key], want)
			}
		}
		if marker := a.n.volume.marker; marker == nil || marker.Fresh || marker.Member != "i-hand" || marker.Instance != "i-hand" {
			t.Errorf("marker %+v", marker)
		}
		names := strings.Join(a.names, " ") // of every operation
		if ahead, asked := strings.Index(names, "put "+Key(simCluster)), strings.Index(names, "add https"); ahead < 0 || ahead > asked {
			t.Errorf("etcd was asked before the record said so: %s", names)
		}
	})
}

// The dead goes before the living comes, each in its own steps: an even number of voters tolerates no more than an odd one less.
func TestJoinInThePlaceOfTheDead(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(3, 0)
		dead := w.masters()[1]
		w.end([]*node{dead})
		a := w.hand()
		joined(t, w, a)
		var members []string
		for _, m := range w.record.Members {
			members = append(members, m.Name)
		}
		steps := w.steps("i-hand")
		without := strings.Join(members[:2], " ")
		if len(steps) != 3 || !strings.HasSuffix(steps[0], "; remove "+dead.name+" by i-hand") || steps[1] != without ||
			steps[2] != without+" i-hand(learner); add i-hand by i-hand" {
			t.Errorf("steps %q", steps)
		}
	})
}

// A change of another instance is waited for, until that is gone or the change has not moved for ten minutes. Then the taker
// is in the record before it touches etcd; a learner goes, and a voter stays.
func TestTakeOver(t *testing.T) {
	for name, c := range map[string]struct {
		change Change
		gone   bool
		after  time.Duration
		want   []string // the first swaps of the taker, after the members
	}{
		"an addition, of the gone":    {Change{Kind: Add, Member: "i-x", Instance: "i-x"}, true, time.Minute, []string{"; remove i-x by i-hand", ""}},
		"an addition, stuck":          {Change{Kind: Add, Member: "i-x", Instance: "i-x"}, false, 12 * time.Minute, []string{"; remove i-x by i-hand", ""}},
		"an addition, in time":        {Change{Kind: Add, Member: "i-x", Instance: "i-x"}, false, 8 * time.Minute, nil},
		"a promotion that was made":   {Change{Kind: Promote, Member: "i-1", Instance: "i-x"}, true, time.Minute, []string{""}},
		"a promotion, not made":       {Change{Kind: Promote, Member: "i-x", Instance: "i-x"}, true, time.Minute, []string{"; remove i-x by i-hand", ""}},
		"a removal of what is not in": {Change{Kind: Remove, Member: "i-x", Instance: "i-y"}, true, time.Minute, []string{"; remove i-x by i-hand", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 1, quiet, func(w *world) {
				w.lived(2, 0)
				w.locked(func() {
					for _, n := range w.masters() {
						n.agent.kill("so that nobody else takes over")
					}
					other := &node{w: w, name: "i-x", volume: &volume{}, state: "running", since: time.Now()}
					if c.gone {
						other.state = "terminated"
					}
					w.nodes = append(w.nodes, other, &node{w: w, name: "i-y", volume: &volume{}, state: "terminated", since: time.Now()})
				})
				w.edit(func(r *Lineage) {
					r.Change = &c.change
					if c.change.Member == "i-x" {
						r.Members = append(r.Members, Member{Name: "i-x", Instance: "i-x", PeerURL: "https://i-x.etcd.test:2380", Learner: true})
					}
				})
				a := w.hand()
				w.wg.Go(func() { _, _ = a.keeper.Prepare(w.ctx, a.member) })
				w.pass(c.after)
				var ends []string
				for _, step := range w.steps("i-hand") {
					_, change, found := strings.Cut(step, ";")
					if found {
						change = ";" + change
					}
					ends = append(ends, change)
				}
				if !slices.Equal(ends[:min(len(ends), len(c.want))], c.want) || (c.want == nil) != (len(ends) == 0) {
					t.Errorf("steps %q, want %q first", ends, c.want)
				}
				if len(c.want) > 0 && c.change.Kind == Promote && w.record.named("i-1") == nil {
					t.Error("a voter was removed")
				}
			})
		})
	}
}
