package etcd

import (
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
