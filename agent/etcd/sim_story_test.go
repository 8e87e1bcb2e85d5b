package etcd

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
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

// hand is a node whose agent does nothing by itself: the test calls its keeper.
func (w *world) hand() *agent {
	var a *agent
	w.locked(func() {
		n := &node{w: w, name: "i-hand", address: "10.0.1.1", volume: &volume{}, up: true, seen: time.Now()}
		n.become(types.InstanceStateNameRunning)
		w.nodes = append(w.nodes, n)
		w.victim = n // its operations are listed
		a = n.newAgent()
		a.keep()
	})
	return a
}

// steps are what an agent has swapped in, in short.
func (w *world) steps(who string) (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.lines {
		if _, text, found := strings.Cut(line, who+" "); found {
			if _, record, found := strings.Cut(text, "swaps: "); found {
				_, record, _ = strings.Cut(record, ": ")
				all = append(all, record)
			}
		}
	}
	return all
}

// edit changes the record as another instance would.
func (w *world) edit(change func(*Lineage)) {
	w.locked(func() {
		record := w.record.clone()
		change(record)
		record.Holder = Holder{"i-other", nonce()}
		data, err := record.encode()
		if err == nil {
			_, err = w.put("other", Key(simCluster), data, etag(w.objects[Key(simCluster)]))
		}
		if err != nil {
			w.fail("edit: %v", err)
		}
	})
}
