package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/etcdtest"
)

// contiguous checks that the stored deltas follow each other from a base.
func contiguous(t *testing.T, base full, deltas []*Delta) int64 {
	t.Helper()
	at := base.entry.Revision
	for _, d := range deltas {
		if d.Base != at || d.Last <= d.Base {
			t.Fatalf("delta %d..%d follows revision %d", d.Base, d.Last, at)
		}
		at = d.Last
	}
	return at
}

func TestNothingIsMissingAfterARestart(t *testing.T) {
	t.Parallel()
	member, client := single(t)
	base := take(t, client)
	f := follow(t, client, base, newBlobs(), Options{}, nil)
	for i := range 2 {
		for range 20 {
			put(t, client, fmt.Sprint("k", i), "v")
		}
		if i == 1 {
			member.Kill()
		} else {
			member.Stop()
		}
		member.Restart(t)
		wait(t, client)
	}
	end := f.mark(t, client)
	if err := f.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	deltas := f.all(t)
	if at := contiguous(t, base, deltas); at != end {
		t.Fatalf("stored up to %d, written %d", at, end)
	}
	sums(t, base.copied(t, deltas...), client, end)
}

// wait waits until etcd writes again.
func wait(t *testing.T, client *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		once, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := client.Put(once, "wait", "")
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatal("etcd does not write again within 30 s")
}

// The stream follows a member that does not lead, and the leader dies.
func TestNothingIsMissingAfterAnElection(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 3, etcdtest.Options{Plaintext: true})
	leader := cluster.Leader(t)
	local := cluster.Members[0]
	if local == leader {
		local = cluster.Members[1]
	}
	client := local.Client(t)
	base := take(t, client)
	f := follow(t, client, base, newBlobs(), Options{}, nil)
	for range 30 {
		put(t, client, "before", "v")
	}
	leader.Kill()
	wait(t, client)
	for range 30 {
		put(t, client, "after", "v")
	}
	end := f.mark(t, client)
	if err := f.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	deltas := f.all(t)
	contiguous(t, base, deltas)
	sums(t, base.copied(t, deltas...), client, end)
}

// Interval after interval without a write makes no object, yet the age stays small: the read is the proof.
func TestNothingWritten(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	base := take(t, client)
	f := follow(t, client, base, newBlobs(), Options{}, nil)
	began := time.Now()
	deadline := time.After(30 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); f.progress().Proved.Before(began.Add(300 * time.Millisecond)); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("nothing is proved: %+v", f.progress())
		}
	}
	if all := f.all(t); len(all) != 0 {
		t.Errorf("%d deltas of nothing", len(all))
	}
	if p := f.progress(); !p.Uploaded.IsZero() || p.Base != base.entry.Revision || p.Last != base.entry.Revision || p.Bytes != 0 {
		t.Errorf("progress %+v", p)
	}
}

// While etcd does not answer nothing is proved, whatever the watch says, and the stream does not give up.
func TestASilentMemberProvesNothing(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 3, etcdtest.Options{Plaintext: true})
	local := cluster.Members[0]
	client := local.Client(t)
	base := take(t, client)
	f := follow(t, client, base, newBlobs(), Options{Patience: 2 * time.Second}, nil)
	f.mark(t, client)
	cluster.Members[1].Kill()
	cluster.Members[2].Kill()
	cut := time.Now()
	deadline := time.After(30 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); f.progress().Err == nil || f.progress().Age < 3*time.Second; {
		select {
		case <-tick.C:
		case <-f.done:
			t.Fatalf("it gave up: %v", f.err)
		case <-deadline:
			t.Fatalf("a member without quorum counts as up to date: %+v", f.progress())
		}
	}
	if p := f.progress(); p.Proved.After(cut) {
		t.Errorf("proved at %s, without a quorum since %s", p.Proved, cut)
	}
	cluster.Members[1].Restart(t)
	wait(t, client)
	f.mark(t, client)
}

func TestCompactedBeforeItWasSeen(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	base := take(t, client)
	var rev int64
	for range 10 {
		rev = put(t, client, "k", "v")
	}
	if _, err := client.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	f := follow(t, client, base, newBlobs(), Options{}, nil)
	if err := f.ended(t); !errors.Is(err, ErrGap) || !strings.Contains(err.Error(), "compacted") {
		t.Errorf("error %v, want ErrGap and why", err)
	}
	if all := f.all(t); len(all) != 0 {
		t.Errorf("%d deltas after a gap", len(all))
	}
}

// Another cluster behind the same address: by its id, and by a revision that went back.
func TestAnotherCluster(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	put(t, client, "k", "v")
	for name, spoil := range map[string]func(*full){
		"id":       func(f *full) { f.manifest.ClusterID = "abc" },
		"revision": func(f *full) { f.manifest.ClusterID, f.manifest.Revision, f.entry.Revision = "", 1000, 1000 },
	} {
		base := take(t, client)
		spoil(&base)
		f := follow(t, client, base, newBlobs(), Options{}, nil)
		if err := f.ended(t); !errors.Is(err, ErrGap) {
			t.Errorf("%s: error %v, want ErrGap", name, err)
		}
	}
}

func TestAnotherManifest(t *testing.T) {
	for name, spoil := range map[string]func(*backup.Manifest){
		"revision":   func(m *backup.Manifest) { m.Revision++ },
		"generation": func(m *backup.Manifest) { m.Generation++ },
		"cluster":    func(m *backup.Manifest) { m.Cluster = "events" },
		"nonsense":   func(m *backup.Manifest) { m.ClusterID = "zebra" },
	} {
		manifest := backup.Manifest{Cluster: "main", Generation: 1, Revision: 7}
		spoil(&manifest)
		err := (&Stream{}).Run(t.Context(), backup.Entry{Cluster: "main", Generation: 1, Revision: 7}, manifest)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestContinuesWhereTheStoreEnds(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	base := take(t, client)
	objects := newBlobs()
	f := follow(t, client, base, objects, Options{}, nil)
	f.mark(t, client)
	_ = f.stop()
	put(t, client, "between", "v")
	for _, d := range objects.all(t) {
		base.entry.Deltas = append(base.entry.Deltas, backup.DeltaEntry{Base: d.Base, Last: d.Last})
	}
	f = follow(t, client, base, objects, Options{}, nil)
	end := f.mark(t, client)
	if at := contiguous(t, base, objects.all(t)); at != end {
		t.Errorf("stored up to %d, written %d", at, end)
	}
}

// What raises etcd's revision leaves an event at each revision, and nothing else raises it: see the package's comment.
func TestEveryRevisionHasAnEvent(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	ctx := t.Context()
	base := take(t, client)
	f := follow(t, client, base, newBlobs(), Options{}, nil)
	f.mark(t, client)
	raises := func(name string, want int64, do func() error) {
		t.Helper()
		before, err := client.Get(ctx, "x")
		if err == nil {
			err = do()
		}
		after, also := client.Get(ctx, "x")
		if err := errors.Join(err, also); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := after.Header.Revision - before.Header.Revision; got != want {
			t.Errorf("%s raises the revision by %d, want %d", name, got, want)
		}
	}
	bare, err := client.Grant(ctx, 100)
	held, also := client.Grant(ctx, 100)
	if err := errors.Join(err, also); err != nil {
		t.Fatal(err)
	}
	run := func(ops ...clientv3.Op) func() error {
		return func() error { _, err := client.Txn(ctx).Then(ops...).Commit(); return err }
	}
	raises("a transaction of three", 1, run(clientv3.OpPut("a", "1"), clientv3.OpPut("b", "1", clientv3.WithLease(held.ID)),
		clientv3.OpPut("c", "1", clientv3.WithLease(held.ID))))
	raises("an empty transaction", 0, run())
	raises("a transaction that reads", 0, run(clientv3.OpGet("a")))
	raises("deleting nothing", 0, run(clientv3.OpDelete("no")))
	raises("the same value again", 1, run(clientv3.OpPut("a", "1")))
	raises("revoking a lease without keys", 0, func() error { _, err := client.Revoke(ctx, bare.ID); return err })
	raises("revoking one with two keys", 1, func() error { _, err := client.Revoke(ctx, held.ID); return err })
	raises("compaction", 0, func() error { _, err := client.Compact(ctx, base.entry.Revision); return err })
	raises("defragmentation", 0, func() error { _, err := client.Defragment(ctx, client.Endpoints()[0]); return err })
	raises("a user", 0, func() error { _, err := client.UserAdd(ctx, "u", "p"); return err })
	raises("a role", 0, func() error { _, err := client.RoleAdd(ctx, "r"); return err })
	raises("disarming alarms", 0, func() error { _, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); return err })
	short, err := client.Grant(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	rev := put(t, client, "short", "v", clientv3.WithLease(short.ID))
	raises("expiry", 1, func() error { return vanish(ctx, client, "short", rev) })
	end := f.mark(t, client)
	_ = f.stop()
	deltas := f.all(t)
	if at := contiguous(t, base, deltas); at != end {
		t.Errorf("stored up to %d, written %d", at, end)
	}
	sums(t, base.copied(t, deltas...), client, end)
}

// vanish waits until a key is deleted after a revision.
func vanish(ctx context.Context, client *clientv3.Client, key string, after int64) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for range client.Watch(ctx, key, clientv3.WithFilterPut(), clientv3.WithRev(after+1)) {
		return nil
	}
	return errors.New("the lease did not expire within 30 s")
}

func TestFence(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	base := take(t, client)
	var asked atomic.Int64
	fence := func(context.Context) error {
		switch asked.Add(1) {
		case 1:
			return nil
		case 2:
			return errors.New("the store does not answer")
		case 3:
			return nil
		}
		return fmt.Errorf("generation 2: %w", ErrFenced)
	}
	f := follow(t, client, base, newBlobs(), Options{}, fence)
	f.mark(t, client)
	f.mark(t, client) // after the second and third answer
	put(t, client, "k", "v")
	if err := f.ended(t); !errors.Is(err, ErrFenced) || errors.Is(err, ErrGap) {
		t.Errorf("error %v, want ErrFenced", err)
	}
	if n := len(f.all(t)); n != 2 || asked.Load() != 4 {
		t.Errorf("%d deltas after %d questions, want 2 after 4", n, asked.Load())
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	_, client := single(t)
	base := take(t, client)
	put(t, client, "k", "v")
	was := goleak.IgnoreCurrent()
	f := follow(t, client, base, newBlobs(), Options{}, nil)
	f.mark(t, client)
	if err := f.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	goleak.VerifyNone(t, was)
	if !bytes.Contains([]byte(f.err.Error()), []byte(base.entry.ID)) {
		t.Errorf("error %v does not say which backup", f.err)
	}
}
