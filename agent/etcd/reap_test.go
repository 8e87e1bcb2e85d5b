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
