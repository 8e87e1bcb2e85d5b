package etcd

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Long histories in which everything ends and comes back: instances one at a time and all at once, volumes that go on to
// another instance, machines that stop, boot, lose their disk or do not see it, agents that are killed, stores and networks that
// are gone for a while, and an operator who writes masters off.
// histories is how many there are; -sim.seeds says otherwise.
const histories = 120

func TestHistories(t *testing.T) {
	var sum tally
	sum.log(t, "late writes", "lost answers", "row restore", "row rescue", "row moved volume", "row lost disk", "row found again",
		"row halt leaderless", "row halt superseded", "row set aside older", "row taken back", "volumes returned", "operator's lost")
	eachSeed(t, histories, func(t *testing.T, seed uint64) {
		f := storm(seed)
		if seed%2 == 0 { // half of the worlds have good weather: then it is the events alone
			f = quiet
			f.stale = 0.3
		}
		sum.add(simulate(t, seed, f, func(w *world) {
			w.locked(func() {
				w.returns = float64(seed%3) / 2
				w.want = []int{3, 5, 1}[seed%3]
				w.launchAll(w.want)
			})
			for range 6 + seed%7 {
				w.pass(w.randomly(5*time.Second, 4*time.Minute))
				w.locked(w.happens)
			}
			w.settles(2 * time.Hour)
		}))
	})
}

// randomly is a time that the seed has.
func (w *world) randomly(from, to time.Duration) (d time.Duration) {
	w.locked(func() { d = w.between(from, to) })
	return d
}

// happens is one event.
func (w *world) happens() {
	masters := w.masters()
	if len(masters) == 0 {
		return
	}
	n := masters[w.rng.IntN(len(masters))]
	keep := w.chance(w.returns)
	switch w.rng.IntN(14) {
	case 0, 1:
		n.terminate(keep)
	case 2:
		for _, m := range masters {
			m.terminate(keep)
		}
	case 3: // all but one
		for _, m := range masters {
			if m != n {
				m.terminate(keep)
			}
		}
	case 4:
		n.stop()
		w.later(w.between(time.Minute, 20*time.Minute), n.start)
	case 5:
		for _, m := range masters {
			m.stop()
			w.later(w.between(time.Minute, 10*time.Minute), m.start)
		}
	case 6:
		n.reboot("it was reset")
	case 7:
		if n.up {
			n.halt("it was reset")
			n.wipe("with the machine")
			w.later(3*time.Second, n.comesBack)
		}
	case 8:
		n.hides()
	case 9:
		if n.agent != nil {
			n.agent.kill("by a signal")
			w.later(w.between(time.Second, 3*time.Minute), n.startAgent)
		}
	case 10:
		w.outage = time.Now().Add(w.between(time.Second, 5*time.Minute))
	case 11:
		n.cutOff = time.Now().Add(w.between(time.Second, 15*time.Minute))
	case 12:
		n.alone = time.Now().Add(w.between(time.Second, 10*time.Minute))
	case 13:
		w.writeOff(n)
	}
}

func (n *node) comesBack() {
	if n.state == types.InstanceStateNameRunning && !n.up {
		n.boot()
	}
}

// hides boots a machine without its volume, which is attached too late, and boots it with that later.
func (n *node) hides() {
	if !n.up || n.away != nil {
		return
	}
	n.halt("it was reset")
	n.away, n.volume = n.volume, &volume{}
	n.w.tell(n.name, "does not see its disk")
	n.w.later(3*time.Second, n.comesBack)
	n.w.later(n.w.between(5*time.Second, 2*time.Minute), func() {
		if n.state == types.InstanceStateNameRunning {
			n.appears()
			n.w.later(3*time.Second, n.comesBack)
		}
	})
}

// writeOff is the operator, who stops an instance, waits until it is, and says that it will not come back. It may.
func (w *world) writeOff(n *node) {
	n.stop()
	w.later(w.between(time.Minute, 3*time.Minute), func() {
		if n.state != types.InstanceStateNameStopped || w.record == nil || w.record.on(n.name) == nil {
			return
		}
		record := w.record.clone()
		record.on(n.name).Lost = "operator"
		n.writtenOff = true
		record.Holder = Holder{"operator", nonce()}
		if record.State != Running {
			return
		}
		if data, err := record.encode(); err == nil {
			w.stats["operator's lost"]++
			_, _ = w.put("oper", Key(simCluster), data, etag(w.objects[Key(simCluster)]))
		}
	})
	w.later(w.between(4*time.Minute, 20*time.Minute), n.start)
}
