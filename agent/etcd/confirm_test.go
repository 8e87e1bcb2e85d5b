package etcd

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A master that boots, or whose agent is started anew, while the quorum ends for good must not wait for health until its
// deadline, and then again: it says how far its log goes, and the cluster is rescued.
func TestConfirmGivesUpWhatIsLost(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(3, time.Minute)
		var left *node
		w.locked(func() {
			left = w.masters()[2]
			left.reboot("it just happens")
			for _, n := range w.masters()[:2] {
				n.halt("dies")
			}
		})
		// It boots while EC2 takes the two for alive, so it starts, and waits for them.
		w.until(time.Minute, func() bool { return left.etcd })
		w.locked(func() {
			for _, n := range w.masters()[:2] {
				n.terminate(false)
			}
		})
		if !w.until(5*time.Minute, func() bool { return w.record.Generation == 2 && w.record.State == Running }) && !w.failed {
			t.Errorf("nobody rescued the cluster: %s", w.state())
		}
		w.locked(func() {
			if !strings.HasPrefix(w.record.Members[0].Instance, left.name) || w.lossy > 0 {
				t.Errorf("%s; %d writes lost", brief(w.record), len(w.forgiven))
			}
		})
	})
}

// What Confirm changes, it says; what it cannot know, it leaves.
func TestConfirm(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(2, 0)
		a := w.hand()
		text, err := a.keeper.Prepare(w.ctx, a.member)
		if err != nil {
			w.locked(func() { w.fail("%v", err) })
		}
		w.locked(func() { a.n.config, a.n.wanted = text, true; a.n.startEtcd() })
		if changed, err := a.keeper.Confirm(w.ctx, a.member); !changed || err != nil || w.record.on("i-hand").Learner || w.record.Change != nil {
			t.Errorf("a learner that has caught up: %t, %v, %s", changed, err, brief(w.record))
		}
		if changed, err := a.keeper.Confirm(w.ctx, a.member); changed || err != nil {
			t.Errorf("nothing is left to do: %t, %v", changed, err)
		}
		w.locked(func() { w.outage = time.Now().Add(time.Hour) })
		if changed, err := a.keeper.Confirm(w.ctx, a.member); changed || err != nil {
			t.Errorf("the store is gone, and etcd runs on: %t, %v", changed, err)
		}
		w.locked(func() { a.n.volume.marker.Fresh = true })
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		if _, err := a.keeper.Confirm(ctx, a.member); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("a cluster that was begun is not confirmed without its record: %v", err)
		}
	})
}

// The state "new" is in the configuration of who creates, for one start.
func TestConfigOfTheFirst(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		a := w.hand()
		text, err := a.keeper.Prepare(w.ctx, a.member)
		if err != nil || !strings.Contains(string(text), "initial-cluster-state: new\n") || !strings.Contains(string(text), "initial-cluster: i-hand=https://i-hand.etcd.test:2380\n") {
			w.locked(func() { w.fail("%v: %s", err, text) })
			return
		}
		w.locked(func() { a.n.config, a.n.wanted = text, true; a.n.startEtcd() })
		if changed, err := a.keeper.Confirm(w.ctx, a.member); !changed || err != nil || w.record.State != Running || a.n.volume.marker.Fresh {
			t.Errorf("%t, %v, %s", changed, err, brief(w.record))
		}
		text, err = a.keeper.Prepare(w.ctx, a.member)
		if err != nil || !strings.Contains(string(text), "initial-cluster-state: existing\n") {
			t.Errorf("%v: %s", err, text)
		}
	})
}
