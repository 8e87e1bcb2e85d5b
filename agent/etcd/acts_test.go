package etcd

import (
	"testing"
	"time"
)

// rescuing brings a cluster of five to where one of its last two voters has begun to rescue it.
func (w *world) rescuing() (holder *node) {
	w.lived(5, time.Minute)
	w.locked(func() {
		for _, n := range w.masters()[2:] {
			n.terminate(false)
		}
	})
	ok := false
	for end := time.Now().Add(time.Hour); !ok && time.Now().Before(end); w.pass(3 * time.Millisecond) {
		w.locked(func() { ok = w.record.State == Rescuing })
	}
	w.locked(func() {
		if !ok {
			w.fail("nobody began to rescue: %s", brief(w.record))
		}
		holder = w.node(w.record.Holder.Instance)
	})
	return holder
}

// Whoever rescues and loses its disk, and not its life, gives up; then the other survivor rescues.
func TestRescuerLosesItsDisk(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		holder := w.rescuing()
		w.locked(func() {
			holder.halt("it was reset")
			holder.wipe("with the machine")
			holder.boot()
			w.want = 5
		})
		if w.settles(time.Hour); w.lossy > 0 {
			t.Errorf("%d acknowledged writes are lost, and one survivor had them all", len(w.forgiven))
		}
		if w.stats["row rescue after rescuer"] == 0 {
			t.Error("the other survivor did not take over")
		}
	})
}

// An agent that ends right after it began to rescue leaves no note behind: with one, its member would not start while the
// store cannot be read.
func TestRescuerForgetsItsNote(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		holder := w.rescuing()
		w.locked(func() {
			holder.agent.kill("after its swap")
			holder.startAgent()
			w.want = 2
		})
		w.settles(time.Hour)
		if holder.note != "" {
			t.Errorf("it still notes %q", holder.note)
		}
	})
}
