package etcd

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// tale is a scenario in which one agent, the victim's, is ended at each of its operations: every call to the store, the disk,
// the notes, EC2 and etcd, and every start and stop of etcd. An operation that is ended before it took effect, and one
// after it did, are different points.
type tale struct {
	name   string
	begin  func(w *world)       // what was before
	victim func(w *world) *node // called at once after; the count begins here
	then   func(w *world)       // what comes besides
}

var tales = []tale{
	{"create", func(*world) {}, (*world).launch, func(w *world) { w.want = 3 }},
	{"join", func(w *world) { w.served(2) }, (*world).launch, func(w *world) { w.want = 3 }},
	{"join in the place of the dead", func(w *world) {
		w.served(3)
		w.end(w.masters()[1:2])
	}, (*world).launch, func(w *world) { w.want = 3 }},
	{"restore", func(w *world) {
		w.served(3)
		w.end(w.masters())
	}, (*world).launch, func(w *world) { w.want = 3 }},
	{"rescue", func(w *world) { w.served(3) }, func(w *world) *node {
		left := w.masters()
		left[1].terminate(false)
		left[2].terminate(false)
		return left[0]
	}, func(w *world) { w.want = 3 }},
	{"rescue by one of two", func(w *world) { w.served(5) }, func(w *world) *node {
		left := w.masters()
		for _, n := range left[2:] {
			n.terminate(false)
		}
		return left[0]
	}, func(w *world) { w.want = 5 }},
}

// served makes a cluster that has served and is backed up, in little time.
func (w *world) served(masters int) {
	w.locked(func() { w.launchAll(masters); w.want = masters })
	if !w.until(time.Hour, func() bool { return w.healed() == "" }) {
		w.locked(func() { w.fail("no cluster: %s", w.healed()) })
	}
	w.locked(func() {
		w.want = 0
		data := w.leaderOf(w.truth()).volume.data
		w.save(data.cell.generation, data.upTo(data.cell.committed), false)
	})
	w.pass(2 * time.Second)
}

// end terminates instances, and waits until that is true.
func (w *world) end(nodes []*node) {
	w.locked(func() {
		for _, n := range nodes {
			n.terminate(false)
		}
	})
	w.pass(40 * time.Second)
}

// fates are what follows the end of an agent.
var fates = []struct {
	name string
	do   func(n *node)
}{
	{"the agent is started again", func(n *node) { n.startAgent() }},
	{"the machine boots again", func(n *node) { n.reboot("it was reset") }},
	{"the machine boots again with an empty disk", func(n *node) {
		n.halt("it was reset")
		n.wipe("with the machine")
		n.boot()
	}},
	{"the instance is terminated", func(n *node) { n.terminate(false) }},
	{"the operation fails", nil},
}

// play runs a tale with the victim's agents ended in turn, and tells what the operations of each were.
func (s tale) play(t *testing.T, fate int, crashes ...*crash) (operations [][]string) {
	simulate(t, 1, quiet, func(w *world) {
		s.begin(w)
		w.locked(func() {
			n := s.victim(w)
			n.fate = fates[fate].do
			n.crashes = append(make([]*crash, n.boots), crashes...)
			if n.agent != nil { // one that ran before
				n.agent.ops, n.agent.names = 0, nil
				if len(crashes) > 0 {
					n.agent.crash = crashes[0]
					n.crashes = append(make([]*crash, n.boots), crashes[1:]...)
				}
				n.told = []*agent{n.agent}
			}
			s.then(w)
			w.victim = n
		})
		w.pass(time.Minute)
		if w.settles(time.Hour) || w.failed {
			w.locked(func() {
				for _, a := range w.victim.told {
					names := slices.Clone(a.names)
					if len(crashes) == 0 { // what it does from then on is to look, again and again
						names = names[:min(a.settled+5, len(names))]
					}
					operations = append(operations, names)
				}
			})
			if w.lossy > 0 && s.name != "restore" && s.name != "rescue" && s.name != "rescue by one of two" && !w.failed {
				t.Errorf("%s: acknowledged writes are lost, and a majority never was", s.name)
			}
			return
		}
		if len(w.backups) > 0 {
			t.Errorf("%s: only the operator could go on\n%s", s.name, w.state())
		}
	})
	return operations
}

// spread runs jobs on all processors until one fails.
func spread(t *testing.T, jobs []func(t *testing.T)) {
	var mu sync.Mutex
	next := 0
	t.Run("shards", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("shard", func(t *testing.T) {
				t.Parallel()
				for !t.Failed() {
					mu.Lock()
					i := next
					next++
					mu.Unlock()
					if i >= len(jobs) {
						return
					}
					jobs[i](t)
				}
			})
		}
	})
}

// The agent ends at every point of every tale, and is started again; with -sim.all also every other fate follows at each
// point. Then the cluster becomes one, and what was acknowledged is there.
func TestCrashAnywhere(t *testing.T) {
	for _, s := range tales {
		t.Run(s.name, func(t *testing.T) {
			points := s.play(t, 0)[0]
			var jobs []func(t *testing.T)
			for i, name := range points {
				for fate := range fates {
					if fate > 0 && !*simAll {
						break
					}
					for _, after := range []bool{false, true} {
						jobs = append(jobs, func(t *testing.T) {
							told := s.play(t, fate, &crash{at: i + 1, after: after, fails: fates[fate].do == nil})
							if len(told) > 0 && (len(told[0]) <= i || told[0][i] != name) {
								t.Errorf("operation %d is not %s: the runs differ", i+1, name)
							}
							if t.Failed() {
								t.Errorf("ended at operation %d, %s, after %t: %s", i+1, name, after, fates[fate].name)
							}
						})
					}
				}
			}
			spread(t, jobs)
			t.Logf("%s: %d operations, %d points and fates", s.name, len(points), len(jobs))
		})
	}
}

// The agent ends at every point, is started again, and ends at every point of that.
func TestCrashTwice(t *testing.T) {
	for _, s := range []tale{
		{"create", func(*world) {}, (*world).launch, func(w *world) { w.want = 1 }},
		{"restore", func(w *world) {
			w.served(1)
			w.end(w.masters())
		}, (*world).launch, func(w *world) { w.want = 1 }},
		{"join", func(w *world) { w.served(1) }, (*world).launch, func(w *world) { w.want = 2 }},
	} {
		if s.name == "join" && !*simAll {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			var jobs []func(t *testing.T)
			var mu sync.Mutex
			pairs := 0
			for i := range s.play(t, 0)[0] {
				jobs = append(jobs, func(t *testing.T) {
					for j := 1; !t.Failed(); j++ {
						told := s.play(t, 0, &crash{at: i + 1, after: true}, &crash{at: j, after: true})
						mu.Lock()
						pairs++
						mu.Unlock()
						if t.Failed() {
							t.Errorf("ended after operations %d and %d", i+1, j)
						}
						if len(told) < 3 {
							return // the second agent came to its end
						}
					}
				})
			}
			spread(t, jobs)
			t.Logf("%s: %d pairs of points", s.name, pairs)
		})
	}
}
