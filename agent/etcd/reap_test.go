package etcd

import (
	"testing"
	"time"
)

// A learner that etcd added after whoever asked for it was given up belongs to nobody, and must not keep others from joining
// for ever.
func TestReapRemovesALearnerOfNobody(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(3, time.Minute)
		w.locked(func() {
			w.ids++
			w.truth().members[w.ids] = &seat{id: w.ids, peerURL: "https://i-dead.etcd.test:2380", learner: true}
			w.want = 4
		})
		if !w.until(25*time.Minute, func() bool { return w.healed() == "" }) && !w.failed {
			t.Errorf("the fourth master did not become a member: %s", w.state())
		}
	})
}

// reaped has a leader's node reap once, and returns what it did.
func reaped(t *testing.T, w *world) string {
	t.Helper()
	var leader *agent
	w.locked(func() { leader = w.leaderOf(w.truth()).agent })
	cluster := &contact{agent: leader}
	for _, m := range w.record.Members {
		cluster.endpoints = append(cluster.endpoints, endpointOf(m))
	}
	did, err := leader.keeper.Reap(w.ctx, leader.member, cluster)
	if err != nil {
		w.locked(func() { w.fail("%v", err) })
	}
	return did
}

// The record follows etcd where somebody changed that by hand: who is gone from it, who was promoted, who was added.
func TestReapAmends(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(3, 0)
		if did := reaped(t, w); did != "" {
			t.Errorf("there was nothing to do: %s", did)
		}
		w.locked(func() { w.lenient = true }) // what is done by hand breaks the rules
		w.edit(func(r *Lineage) {
			r.Members[0].Learner = true
			r.Members = append(r.Members, Member{Name: "i-x", Instance: "i-x", PeerURL: "https://i-x.etcd.test:2380", Learner: true})
		})
		if did := reaped(t, w); did == "" || len(w.record.Members) != 3 || w.record.Members[0].Learner {
			t.Errorf("%q: %s", did, brief(w.record))
		}
		w.locked(func() {
			w.ids++
			w.truth().members[w.ids] = &seat{id: w.ids, name: "by-hand", peerURL: "https://by-hand:2380", learner: true}
		})
		if did := reaped(t, w); did == "" || w.record.named("by-hand") == nil || !w.record.named("by-hand").Learner {
			t.Errorf("%q: %s", did, brief(w.record))
		}
		if did := reaped(t, w); did != "" {
			t.Errorf("a learner that was added by hand, and has started, is left alone: %s", did)
		}
	})
}

// A voter that is gone stays a member for ten minutes, for whoever comes removes it; then it goes. One alone never goes.
func TestReapTheOverdue(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(3, 0)
		w.end(w.masters()[:1])
		began := time.Now()
		gone := func() bool {
			return w.record.Change == nil && len(w.record.Members) == 2 && len(w.truth().members) == 2
		}
		if w.until(replacedWithin-time.Minute, gone) {
			t.Errorf("removed after %s", time.Since(began))
		}
		if !w.until(7*time.Minute, gone) {
			t.Errorf("still a member: %s", w.state())
		}
	})
}

// A change whose instance is gone is ended by the leader when nobody comes.
func TestReapTakesOver(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(3, 0)
		w.edit(func(r *Lineage) {
			r.Members = append(r.Members, Member{Name: "i-x", Instance: "i-x", PeerURL: "https://i-x.etcd.test:2380", Learner: true})
			r.Change = &Change{Kind: Add, Member: "i-x", Instance: "i-x"}
		})
		// Nobody has ever seen i-x: that counts for gone after two minutes.
		if !w.until(6*time.Minute, func() bool { return w.record.Change == nil && len(w.record.Members) == 3 }) {
			t.Errorf("%s", brief(w.record))
		}
	})
}
