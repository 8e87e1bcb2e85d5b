package etcd

import (
	"strings"
	"testing"
	"time"
)

// watched lets a hand that has joined watch, and returns what it wanted the plan applied again for.
func watched(t *testing.T, w *world, a *agent) (calls func() []string) {
	t.Helper()
	text, err := a.keeper.Prepare(w.ctx, a.member)
	if err != nil {
		w.locked(func() { w.fail("%v", err) })
	}
	w.locked(func() { a.n.config, a.n.wanted = text, true; a.n.startEtcd() })
	if _, err := a.keeper.Confirm(w.ctx, a.member); err != nil {
		w.locked(func() { w.fail("%v", err) })
	}
	var all []string
	w.wg.Go(func() {
		a.keeper.Watch(w.ctx, a.member, 5*time.Second, func(why string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			all = append(all, why)
		})
	})
	return func() []string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return append([]string(nil), all...)
	}
}

// A member that the record no longer has here is stopped within seconds, and the plan is applied again; a well one is left alone.
func TestWatchHaltsTheSuperseded(t *testing.T) {
	for name, edit := range map[string]func(*Lineage){
		"written off": func(r *Lineage) { r.on("i-hand").Lost = "operator" },
		"elsewhere":   func(r *Lineage) { r.on("i-hand").Instance = "i-elsewhere" },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 1, quiet, func(w *world) {
				w.lived(2, 0)
				a := w.hand()
				calls := watched(t, w, a)
				w.pass(time.Minute)
				if got := calls(); len(got) > 0 || !a.n.etcd {
					t.Errorf("a well member: %q, runs %t", got, a.n.etcd)
				}
				w.edit(edit)
				w.pass(8 * time.Second)
				if got := calls(); len(got) != 1 || !strings.Contains(got[0], "no longer has here") || a.n.etcd {
					t.Errorf("%q, runs %t", got, a.n.etcd)
				}
			})
		})
	}
}

// A member that is down is left to whoever runs it for half a minute.
func TestWatchOfOneThatIsDown(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(2, 0)
		a := w.hand()
		calls := watched(t, w, a)
		w.locked(func() { a.n.wanted = false; a.n.stopEtcd("it crashed") })
		w.pass(downAfter - 2*time.Second)
		if got := calls(); len(got) > 0 {
			t.Errorf("too soon: %q", got)
		}
		w.pass(12 * time.Second)
		if got := calls(); len(got) != 1 || !strings.Contains(got[0], "does not run") {
			t.Errorf("%q", got)
		}
	})
}

// The names of members that came later become known, also while the record then cannot be read.
func TestWatchTellsNames(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(2, 0)
		a := w.hand()
		watched(t, w, a)
		w.edit(func(r *Lineage) { r.named("i-1").Address = "10.9.9.9" })
		w.pass(10 * time.Second)
		if line := "10.9.9.9 i-1.etcd.test\n"; !strings.Contains(a.n.hosts, line) || strings.Count(a.n.hosts, "\n") != 3 {
			t.Errorf("hosts: %q", a.n.hosts)
		}
		told := a.n.hosts
		w.locked(func() { w.outage = time.Now().Add(time.Hour) })
		w.pass(time.Minute)
		if a.n.hosts != told || !a.n.etcd {
			t.Errorf("without a record the hosts are %q, and it runs: %t", a.n.hosts, a.n.etcd)
		}
	})
}

// Where the data of a member that ran is gone, nobody starts etcd again: it would begin anew under its old id.
func TestWatchOfLostData(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		w.lived(2, 0)
		a := w.hand()
		calls := watched(t, w, a)
		w.pass(10 * time.Second)
		w.locked(func() { a.n.stopEtcd("its disk failed"); a.n.wipe("it failed") })
		w.pass(10 * time.Second)
		if got := calls(); len(got) != 1 || !strings.Contains(got[0], "its data is gone") || a.n.wanted {
			t.Errorf("%q; it would be started again: %t", got, a.n.wanted)
		}
	})
}
