package care

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
)

var discard = slog.New(slog.DiscardHandler)

// closedClient is a client of another member than the one that is asked for.
func closedClient(t *testing.T) *peers.Client {
	t.Helper()
	c, err := peers.Dial(t.Context(), peers.Options{Endpoints: []peers.Endpoint{{Name: "other", URL: "http://other:2379", Address: "127.0.0.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// What is known of the lineage holds for two seconds; what is not known is asked again; what went on never comes back.
func TestFence(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	c := w.carer(w.cluster.Members[0], rarely())
	c.pace = c.pace.complete()
	term, err := c.elected(t.Context())
	if err != nil || term == nil {
		t.Fatalf("%v, %v", term, err)
	}
	defer term.client.Close()
	lapsed, lapse := context.WithCancel(t.Context())
	term.lapse = lapse

	w.store.away.Store(true)
	if err := term.fence(t.Context()); !errors.Is(err, errAway) || errors.Is(err, delta.ErrFenced) {
		t.Errorf("away: %v", err)
	}
	time.AfterFunc(200*time.Millisecond, func() { w.store.away.Store(false) })
	if err := term.surely(t.Context()); err != nil {
		t.Errorf("back again: %v", err)
	}
	asked := w.store.gets.Load()
	for range 5 {
		if err := term.fence(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if more := w.store.gets.Load() - asked; more != 0 {
		t.Errorf("the store was asked %d times within two seconds", more)
	}
	w.record(2)
	term.looked = time.Now().Add(-fenceFor)
	if err := term.fence(t.Context()); !errors.Is(err, delta.ErrFenced) || lapsed.Err() == nil {
		t.Errorf("the next generation: %v", err)
	}
	w.record(1)
	term.looked = time.Now().Add(-fenceFor)
	if err := term.surely(t.Context()); !errors.Is(err, delta.ErrFenced) {
		t.Errorf("fenced before: %v", err)
	}
}

// When Run returns nothing of it runs on, not for a moment, although a delta, or a backup, is being uploaded.
func TestTheEndJoinsAll(t *testing.T) {
	w := newWorldAlone(t, 1, etcdtest.Options{})
	blocked := make(chan struct{}, 10)
	n := w.start(w.cluster.Members[0], rarely())
	w.covered(w.put("one"))
	w.store.before(func(ctx context.Context, key string) error {
		blocked <- struct{}{}
		<-ctx.Done()
		time.Sleep(300 * time.Millisecond) // a store takes its time to give up
		return ctx.Err()
	})
	w.put("two")
	<-blocked
	n.stop()
	if left := w.running(); left != "" {
		t.Errorf("goroutines are left beside a stream:\n%s", left)
	}
	c := rarely()
	c.Interval, c.NoDeltas = time.Second, true
	n = w.start(w.cluster.Members[0], c)
	<-blocked
	n.stop()
	if left := w.running(); left != "" {
		t.Errorf("goroutines are left beside an upload:\n%s", left)
	}
}

// running are our goroutines at this moment, but for this test's own.
func (w *world) running() string {
	w.t.Helper()
	buffer := make([]byte, 8<<20)
	all := strings.Split(string(buffer[:runtime.Stack(buffer, true)]), "\n\n")
	return oursOf(slices.DeleteFunc(all, func(g string) bool { return strings.Contains(g, "testing.") }))
}

func TestStands(t *testing.T) {
	t.Parallel()
	record := func(edit func(*etcd.Lineage)) *etcd.Lineage {
		r := &etcd.Lineage{UID: uid, Generation: 3, State: etcd.Running, Members: []etcd.Member{
			{Name: "a", Instance: "i-1", Address: "10.0.0.1", ClientURL: "https://a:2379"},
			{Name: "b", Instance: "i-2", Address: "10.0.0.2", ClientURL: "https://b:2379"},
		}}
		if edit != nil {
			edit(r)
		}
		return r
	}
	begun := record(nil)
	term := &term{Carer: &Carer{Instance: "i-1"}, record: begun, mine: begun.Members[0], self: endpoint(begun.Members[0])}
	for name, c := range map[string]struct {
		record *etcd.Lineage
		want   bool
	}{
		"the same":           {record(nil), true},
		"another joined":     {record(func(r *etcd.Lineage) { r.Members = append(r.Members, etcd.Member{Name: "c", Instance: "i-3"}) }), true},
		"another is gone":    {record(func(r *etcd.Lineage) { r.Members = r.Members[:1] }), true},
		"none":               {nil, false},
		"a newer generation": {record(func(r *etcd.Lineage) { r.Generation++ }), false},
		"another cluster":    {record(func(r *etcd.Lineage) { r.UID = "other" }), false},
		"restoring":          {record(func(r *etcd.Lineage) { r.State = etcd.Restoring }), false},
		"not listed":         {record(func(r *etcd.Lineage) { r.Members = r.Members[1:] }), false},
		"lost":               {record(func(r *etcd.Lineage) { r.Members[0].Lost = "disk" }), false},
		"moved":              {record(func(r *etcd.Lineage) { r.Members[0].Instance = "i-9" }), false},
		"another address":    {record(func(r *etcd.Lineage) { r.Members[0].Address = "10.0.0.9" }), false},
	} {
		if got := term.stands(c.record); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestSpacing(t *testing.T) {
	t.Parallel()
	var s spacing
	now := time.Unix(1_800_000_000, 0)
	var lefts []time.Duration
	for range 6 {
		if left := s.left(now); left > 0 {
			t.Fatalf("%s left after all of it", left)
		}
		s.done(now, time.Minute, 5*time.Minute)
		lefts = append(lefts, s.left(now))
		now = now.Add(s.left(now))
	}
	want := []time.Duration{1, 2, 4, 5, 5, 5}
	for i := range want {
		if lefts[i] != want[i]*time.Minute {
			t.Fatalf("pauses %v, want %v minutes", lefts, want)
		}
	}
	now = now.Add(10 * time.Minute)
	if s.done(now, time.Minute, 5*time.Minute); s.left(now) != time.Minute {
		t.Errorf("after a quiet time: %s", s.left(now))
	}
}

// followed is a stream that runs nothing.
func followed(id string, reaches int64, stopped *[]string) *stream {
	s := &stream{base: backup.Entry{ID: id}, stop: func() { *stopped = append(*stopped, id) }}
	s.reaches.Store(reaches)
	return s
}

// The older stream goes on until what is stored of the newer reaches as far, and never a third beside two.
func TestSettle(t *testing.T) {
	t.Parallel()
	var stopped []string
	older, newer := followed("1/a", 100, &stopped), followed("1/b", 90, &stopped)
	d := &deltas{term: &term{Carer: &Carer{}}, streams: []*stream{older, newer}}
	if d.settle("1/b") || len(stopped) > 0 {
		t.Fatalf("settled at once: %v", stopped)
	}
	older.reaches.Store(120) // it is ever ahead
	newer.reaches.Store(99)
	if d.settle("1/b") || len(stopped) > 0 {
		t.Fatalf("settled too early: %v", stopped)
	}
	newer.reaches.Store(100)
	if !d.settle("1/b") || len(stopped) != 1 || stopped[0] != "1/a" || d.counts.Load() != newer {
		t.Fatalf("not settled: %v", stopped)
	}

	failing := followed("1/c", 130, &stopped)
	failing.dead.Store(true)
	failing.broken.Store(true)
	d.streams = append(d.streams, failing)
	if !d.settle("1/c") || len(stopped) != 1 || !d.broken() {
		t.Errorf("a stream that is dead took the place of one that is not: %v", stopped)
	}
	if d.spare() != failing {
		t.Error("the living one would be dropped for a third")
	}
	d.abandon("1/c")
	if len(stopped) != 1 {
		t.Error("what counts was abandoned")
	}
	d.end()
	if len(stopped) != 3 || len(d.streams) != 0 {
		t.Errorf("stopped %v", stopped)
	}
}

// What counts is the latest backup, although the deltas of the one before reach further for a while.
func TestTheLatestIsFollowed(t *testing.T) {
	t.Parallel()
	var stopped []string
	own := &term{Carer: &Carer{Store: newStore(t)}, record: &etcd.Lineage{UID: uid, Generation: 1}}
	d := &deltas{term: own, streams: []*stream{followed("1/a", 200, &stopped), followed("1/b", 150, &stopped)}}
	b := &backups{term: own, deltas: d, read: "1/b"}
	err := b.follow(t.Context(), []backup.Entry{
		{ID: "1/a", Generation: 1, Revision: 100, Complete: true, Deltas: []backup.DeltaEntry{{Base: 100, Last: 200}}},
		{ID: "1/b", Generation: 1, Revision: 150, Complete: true},
		{ID: "2/c", Generation: 2, Revision: 900, Complete: true},
	})
	if err != nil || d.counts.Load() != d.streams[1] || len(stopped) > 0 || b.settled {
		t.Errorf("%v, stopped %v, settled %t", err, stopped, b.settled)
	}
}
