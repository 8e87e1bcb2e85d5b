package etcd

import (
	"time"
)

// launchAll starts instances at once.
func (w *world) launchAll(n int) {
	for range n {
		w.launch()
	}
}

// lived makes a cluster of so many masters, lets it serve for a while, and has it backed up.
func (w *world) lived(masters int, serves time.Duration) {
	w.locked(func() { w.launchAll(masters); w.want = masters })
	if !w.until(time.Hour, func() bool { return w.healed() == "" }) {
		w.locked(func() { w.fail("no cluster: %s", w.healed()) })
	}
	if !w.until(time.Hour, func() bool { return len(w.backups) > 0 }) {
		w.locked(func() { w.fail("no backup") })
	}
	w.pass(serves)
	w.locked(func() { w.want = 0 })
}

// node is an instance by its id.
func (w *world) node(name string) *node {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}
