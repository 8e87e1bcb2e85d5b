package care

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/config"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/status"
)

// A leader backs up at once and has what is written after that stored; while the next backup is uploaded both are followed,
// then the next alone.
func TestDeltasFollowTheNextBackupFromItsBeginning(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	release := make(chan struct{})
	var uploads atomic.Int64
	w.store.before(func(ctx context.Context, key string) error {
		if !isSnapshot(key) {
			return nil
		}
		switch uploads.Add(1) {
		case 1:
		case 2:
			select {
			case <-release:
			case <-ctx.Done():
			}
		default: // the second stays the latest
			<-ctx.Done()
		}
		return ctx.Err()
	})
	c := rarely()
	c.Interval = 4 * time.Second
	n := w.start(w.cluster.Members[0], c)
	w.covered(w.put("after the first"))
	first := w.complete()[0].ID
	if got := len(w.complete()); got != 1 {
		t.Fatalf("%d backups, want 1", got)
	}

	w.until("the second upload", func() bool { return uploads.Load() == 2 })
	under := w.put("while the second is uploaded")
	w.until("deltas of both", func() bool {
		count := 0
		for _, e := range w.list() {
			if e.Reaches() >= under {
				count++
			}
		}
		return count == 2
	})
	if all := w.complete(); len(all) != 1 || all[0].ID != first {
		t.Fatalf("%v count before the second has its manifest", all)
	}
	w.covered(under)
	close(release)

	w.until("the second backup to be followed", func() bool {
		b := n.seen().Backup
		return b != nil && b.ID != "" && b.ID != first
	})
	second := n.seen().Backup.ID
	last := w.put("after the second")
	w.until("the second to reach the present", func() bool { return w.entry(second).Reaches() >= last })
	w.until("the first to be left alone", func() bool {
		before := len(w.entry(first).Deltas)
		last = w.put("and on")
		w.covered(last)
		return len(w.entry(first).Deltas) == before
	})
	w.until("what is shown to be what is stored", func() bool {
		d := n.seen().Delta
		return d != nil && d.Reaches >= last && !d.Proved.IsZero() && d.Failed == "" && d.Interval == 0.1
	})
	w.end()
}

func (w *world) entry(id string) backup.Entry {
	w.t.Helper()
	for _, e := range w.list() {
		if e.ID == id {
			return e
		}
	}
	w.t.Fatalf("there is no backup %s", id)
	return backup.Entry{}
}

// The leadership moves in the middle of a backup, and then again and again: one backup, and deltas without a gap.
func TestLeadershipMoves(t *testing.T) {
	w := newWorld(t, 3, etcdtest.Options{})
	blocked := make(chan struct{}, 10)
	w.store.before(func(ctx context.Context, key string) error {
		if !isSnapshot(key) {
			return nil
		}
		blocked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	for _, m := range w.cluster.Members {
		w.start(m, rarely())
	}
	<-blocked // a backup is under way
	w.store.before(nil)
	old := w.move()
	w.until("the old leader's node to let go", func() bool { return !w.nodes[old].seen().Leads })
	w.covered(w.put("after the move"))
	for range 3 {
		old := w.move()
		w.covered(w.put("under another leader"))
		w.until("the old leader's node to show nothing", func() bool { e := w.nodes[old].seen(); return !e.Leads && e.Backup == nil })
	}
	var with []string
	for _, e := range w.list() {
		if e.Complete != (e.Snapshot > 0) {
			t.Errorf("%s is left in half", e.ID)
		}
		if e.Complete {
			with = append(with, e.ID)
		}
	}
	if len(with) != 1 {
		t.Errorf("backups %v within one interval, want one", with)
	}
	w.end()
}

// move has the leader hand over, and returns who led.
func (w *world) move() string {
	w.t.Helper()
	leader := w.cluster.Leader(w.t)
	for _, m := range w.cluster.Members {
		if m == leader {
			continue
		}
		if _, err := leader.Client(w.t).MoveLeader(w.t.Context(), m.ID()); err != nil {
			w.t.Fatal(err)
		}
		w.until("another leader", func() bool { return w.cluster.Leader(w.t) != leader })
		return leader.Name
	}
	return ""
}

// The store goes away as soon as the first backup counts: etcd goes on, the failure shows, and what could be held is stored
// afterwards, without a new backup.
func TestStoreAway(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	w.store.put = func(key string) {
		if strings.HasSuffix(key, "/manifest.json") {
			w.store.away.Store(true)
		}
	}
	n := w.start(w.cluster.Members[0], rarely())
	w.until("the backup", func() bool { b := n.seen().Backup; return b != nil && b.ID != "" && b.Count == 1 })
	last := w.put("meanwhile")
	w.until("the failure to show", func() bool {
		d := n.seen().Delta
		return strings.Contains(n.failed(), errAway.Error()) && d != nil && d.Failed != ""
	})
	n.Board.Etcd("main", func(e *status.Etcd) { e.Members = []status.EtcdMember{{Name: n.Instance}} })
	w.until("members to be looked after all the same", func() bool { return n.seen().Members[0].Health == "ok" })
	w.store.away.Store(false)
	w.covered(last)
	w.until("the failure to be over", func() bool { return n.failed() == "" && n.seen().Delta.Failed == "" })
	if all := w.complete(); len(all) != 1 {
		t.Errorf("%d backups, want the one that was there", len(all))
	}
	w.end()
}

// More is written than can be held while the store is away, and then compacted: only a full backup has it all, and one is
// enough.
func TestGapMakesAFullBackup(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	c := w.carer(w.cluster.Members[0], rarely())
	c.pace.held = 16 << 10
	n := w.run(w.cluster.Members[0], c)
	w.covered(w.put("before"))
	first := w.complete()[0].ID
	w.store.away.Store(true)
	w.until("no more to be held", func() bool {
		w.put(strings.Repeat("x", 4<<10))
		d := n.seen().Delta
		return d != nil && d.Held >= c.pace.held
	})
	var last int64
	for range 10 {
		last = w.put("not seen by the watch")
	}
	if _, err := w.client.Compact(t.Context(), last, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	w.store.away.Store(false)
	w.covered(last)
	w.covered(w.put("after"))
	all := w.complete()
	if len(all) != 2 || all[0].ID == first || all[0].Revision < last {
		t.Errorf("backups %v, want a second one that has revision %d", all, last)
	}
	w.until("all to be well", func() bool { return n.failed() == "" && n.seen().Delta.Failed == "" && n.seen().Backup.Count == 2 })
	w.end()
}

// Old backups go, but for those that are locked, and never the newest.
func TestRetention(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	c := rarely()
	c.Interval, c.NoDeltas = time.Second, true
	c.Keep = config.EtcdKeep{All: time.Millisecond, Hourly: time.Millisecond, Daily: time.Millisecond}
	n := w.start(w.cluster.Members[0], c)
	w.until("a backup", func() bool { return len(w.complete()) == 1 })
	locked := w.complete()[0]
	w.store.lock(locked.ManifestKey())
	taken, highest := map[string]bool{}, int64(0)
	w.until("backups to go", func() bool {
		w.put("so that backups differ")
		all := w.complete()
		for _, e := range all {
			taken[e.ID] = true
		}
		if latest := backup.Latest(all, 1).Revision; latest < highest {
			t.Fatalf("the newest went: revision %d, now %d", highest, latest)
		} else {
			highest = latest
		}
		return len(taken) >= 5 && len(all) == 4 // three of the generation, and the locked one
	})
	if !slices.ContainsFunc(w.complete(), func(e backup.Entry) bool { return e.ID == locked.ID }) {
		t.Error("the locked one went")
	}
	if e := n.seen(); e.Delta != nil || len(w.complete()[0].Deltas) > 0 {
		t.Errorf("deltas %+v although there should be none", e.Delta)
	}
	w.end()
}

// When the lineage goes on the term ends, and nothing is written afterwards: neither a delta nor the backup under way.
func TestNothingIsWrittenUnderANewerGeneration(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	c := rarely()
	c.Interval = 2 * time.Second
	n := w.start(w.cluster.Members[0], c)
	w.covered(w.put("before"))
	release, waits := make(chan struct{}), make(chan struct{}, 10)
	w.store.before(func(_ context.Context, key string) error {
		if isSnapshot(key) {
			waits <- struct{}{}
			<-release // whatever ctx says: the upload is already at the store
		}
		return nil
	})
	<-waits
	before := map[string]bool{}
	for _, e := range w.complete() {
		before[e.ID] = true
	}
	w.record(2)
	time.Sleep(fenceFor + 500*time.Millisecond) // what a look is good for
	close(release)
	w.until("the term to be over", func() bool { return !n.seen().Leads || n.seen().Backup == nil || n.seen().Backup.ID == "" })
	w.store.before(nil)
	late := w.put("of the newer generation")
	w.until("the newer generation's own backup", func() bool {
		all := w.complete()
		return len(all) > 0 && all[0].Generation == 2
	})
	for _, e := range w.list() {
		if e.Generation == 1 && (e.Reaches() >= late || e.Complete != (e.Snapshot > 0) || e.Complete && !before[e.ID]) {
			t.Errorf("%s was stored although the lineage had gone on", e.ID)
		}
	}
	w.end()
}

func TestDisabled(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	c := rarely()
	c.Disabled = true
	begun := w.store.writes.Load()
	n := w.start(w.cluster.Members[0], c)
	w.until("upkeep", func() bool { e := n.seen(); return e.Leads && len(e.Alarms) == 0 })
	w.put("not backed up")
	time.Sleep(500 * time.Millisecond)
	if e := n.seen(); e.Backup != nil || e.Delta != nil || w.store.writes.Load() != begun {
		t.Errorf("%+v, %+v, %d writes", e.Backup, e.Delta, w.store.writes.Load()-begun)
	}
	w.end()
}

// A failure of each kind is shown, and the pauses between attempts grow.
func TestRoundsAfterFailures(t *testing.T) {
	own := &term{Carer: &Carer{Store: newStore(t), pace: often.complete()}}
	b := &backups{term: own, deltas: &deltas{term: own}}
	b.Carer.Board = status.NewBoard(t.TempDir()+"/status.json", "test", nil)
	defer b.Carer.Board.Close()
	b.Carer.Logger = discard
	b.Carer.Member.Name = "main"
	var waits []time.Duration
	b.client = closedClient(t)
	for range 20 {
		waits = append(waits, b.round(t.Context()))
	}
	if !slices.IsSorted(waits) || waits[0] != often.retry || waits[1] != 2*often.retry || waits[19] != failLongest {
		t.Errorf("pauses %v", waits)
	}
	if got := fmt.Sprint(b.Carer.Board.Snapshot().Etcd[0].Backup.Failed); !strings.Contains(got, "no endpoint") {
		t.Errorf("shown: %q", got)
	}
}
