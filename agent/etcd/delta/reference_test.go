package delta

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"

	"rekindle/agent/etcd/etcdtest"
)

var seeds = flag.Int("seeds", 5, "how many random workloads are compared with a live server")

// workload writes at random, as clients of etcd do.
type workload struct {
	client *clientv3.Client
	random *rand.Rand
	leases []clientv3.LeaseID
	rev    int64 // of the last answer
}

func (w *workload) key() string { return fmt.Sprintf("/k/%02d", w.random.IntN(30)) }

func (w *workload) value() string { return strings.Repeat("v", w.random.IntN(200)) }

func (w *workload) put() clientv3.Op {
	var o []clientv3.OpOption
	if n := len(w.leases); n > 0 && w.random.IntN(3) == 0 {
		o = append(o, clientv3.WithLease(w.leases[w.random.IntN(n)]))
	}
	return clientv3.OpPut(w.key(), w.value(), o...)
}

func (w *workload) step(ctx context.Context) error {
	switch w.random.IntN(12) {
	case 0:
		answer, err := w.client.Grant(ctx, []int64{1, 2, 60, 3600}[w.random.IntN(4)])
		if err == nil {
			w.leases = append(w.leases, answer.ID)
		}
		return err
	case 1, 2:
		return w.lease(ctx)
	case 3:
		return w.compact(ctx)
	case 4, 5:
		return w.do(ctx, clientv3.OpDelete(w.key(), clientv3.WithRange(w.key())))
	case 6, 7, 8:
		return w.do(ctx, w.txn())
	default:
		return w.do(ctx, w.put())
	}
}

// do runs an operation. A lease may have expired meanwhile, a transaction may name a key twice: then nothing is written.
func (w *workload) do(ctx context.Context, op clientv3.Op) error {
	answer, err := w.client.Do(ctx, op)
	if err != nil && (strings.Contains(err.Error(), "lease not found") || strings.Contains(err.Error(), "duplicate key")) {
		return nil
	}
	switch {
	case err != nil:
	case answer.Put() != nil:
		w.rev = answer.Put().Header.Revision
	case answer.Del() != nil:
		w.rev = answer.Del().Header.Revision
	case answer.Txn() != nil:
		w.rev = answer.Txn().Header.Revision
	}
	return err
}

func (w *workload) txn() clientv3.Op {
	var ops []clientv3.Op
	for range w.random.IntN(6) { // none: it writes nothing
		switch w.random.IntN(4) {
		case 0:
			ops = append(ops, clientv3.OpDelete(w.key()))
		case 1:
			ops = append(ops, clientv3.OpGet(w.key()))
		default:
			ops = append(ops, w.put())
		}
	}
	exists := clientv3.Compare(clientv3.CreateRevision(w.key()), ">", 0)
	return clientv3.OpTxn([]clientv3.Cmp{exists}, ops, []clientv3.Op{w.put()})
}

func (w *workload) lease(ctx context.Context) error {
	if len(w.leases) == 0 {
		return nil
	}
	i := w.random.IntN(len(w.leases))
	id := w.leases[i]
	if w.random.IntN(2) == 0 {
		_, err := w.client.KeepAliveOnce(ctx, id)
		return unless(err, "lease not found")
	}
	w.leases = append(w.leases[:i:i], w.leases[i+1:]...)
	_, err := w.client.Revoke(ctx, id)
	return unless(err, "lease not found")
}

func (w *workload) compact(ctx context.Context) error {
	if w.rev < 150 || w.random.IntN(3) > 0 {
		return nil
	}
	_, err := w.client.Compact(ctx, w.rev-w.random.Int64N(150))
	return unless(err, "compacted")
}

func unless(err error, text string) error {
	if err != nil && strings.Contains(err.Error(), text) {
		return nil
	}
	return err
}

// A base and its deltas, replayed offline, are what the server that runs on has: by etcd's own sum of all revisions, at
// every delta that a compaction did not reach, by every key and by every lease.
func TestReplayEqualsALiveServer(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	compared, leased, revisions := 0, 0, int64(0)
	for seed := range *seeds {
		base := take(t, client)
		f := follow(t, client, base, newBlobs(), Options{Interval: 20 * time.Millisecond}, nil)
		f.mark(t, client) // the watch is there: no compaction can overtake it
		w := &workload{client: client, random: random(seed)}
		for range 60 + w.random.IntN(200) {
			if err := w.step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w.random.IntN(40) == 0 {
				time.Sleep(time.Duration(w.random.IntN(120)) * time.Millisecond) // several deltas
			}
		}
		if seed%4 == 1 {
			time.Sleep(2500 * time.Millisecond) // the short leases end, and take their keys along
		}
		before := living(t, client)
		f.mark(t, client)
		end := f.mark(t, client)
		after := living(t, client)
		if err := f.stop(); !errors.Is(err, context.Canceled) {
			t.Fatalf("seed %d: Run: %v", seed, err)
		}
		deltas := f.all(t)
		revisions += deltas[len(deltas)-1].Last - base.entry.Revision
		compared += compare(t, client, base, deltas)
		path := base.copied(t, upTo(deltas, end)...)
		leased += ends(t, client, path, end, before, after)
	}
	t.Logf("%d states compared over %d revisions, %d leases", compared, revisions, leased)
	if compared < 4**seeds || leased < 2**seeds {
		t.Errorf("compared only %d states and %d leases", compared, leased)
	}
}

// A data directory made of base and deltas serves what the server had: every key at every revision since the compaction, and the
// leases, which take their keys along when they end.
func TestReplayedFileServes(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true})
	client := cluster.Members[0].Client(t)
	base := take(t, client)
	f := follow(t, client, base, newBlobs(), Options{}, nil)
	w := &workload{client: client, random: random(77)}
	for range 200 {
		if err := w.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	short, err := client.Grant(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	put(t, client, "short", "v", clientv3.WithLease(short.ID))
	end := f.mark(t, client)
	_ = f.stop()
	path := base.copied(t, f.all(t)...)

	member := cluster.New(t)
	member.DataDir = filepath.Join(t.TempDir(), "restored")
	err = snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: member.Name, OutputDataDir: member.DataDir, SkipHashCheck: true,
		PeerURLs: []string{member.PeerURL}, InitialCluster: member.Name + "=" + member.PeerURL, InitialClusterToken: "g2",
	})
	if err != nil {
		t.Fatal(err)
	}
	member.Begin(t)
	restored := member.Client(t)
	served(t, client, restored, end)
	if err := vanish(t.Context(), restored, "short", end); err != nil {
		t.Error(err)
	}
}

// served compares all keys at every revision that both servers still have.
func served(t *testing.T, want, got *clientv3.Client, end int64) {
	t.Helper()
	compared := 0
	for rev := end; rev > 0; rev-- {
		a, err := want.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithRev(rev))
		if errors.Is(err, rpctypes.ErrCompacted) {
			break
		}
		b, also := got.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithRev(rev))
		if err := errors.Join(err, also); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a.Kvs, b.Kvs); diff != "" {
			t.Fatalf("keys at revision %d:\n%s", rev, diff)
		}
		compared++
	}
	if compared < 20 {
		t.Errorf("only %d revisions were compared", compared)
	}
	for id, ttl := range living(t, want) {
		one, err := got.TimeToLive(t.Context(), clientv3.LeaseID(id), clientv3.WithAttachedKeys())
		other, also := want.TimeToLive(t.Context(), clientv3.LeaseID(id), clientv3.WithAttachedKeys())
		if err := errors.Join(err, also); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(one.Keys, bytes.Compare) // etcd keeps them in no order
		slices.SortFunc(other.Keys, bytes.Compare)
		if other.TTL > 5 && (one.GrantedTTL != ttl || !cmp.Equal(one.Keys, other.Keys)) {
			t.Errorf("lease %x: granted %d s, keys %s; want %d s, %s", id, one.GrantedTTL, one.Keys, ttl, other.Keys)
		}
	}
}

// compare replays every number of deltas and compares etcd's sum, unless the server has compacted that state away.
func compare(t *testing.T, client *clientv3.Client, base full, deltas []*Delta) (n int) {
	t.Helper()
	status, err := client.HashKV(t.Context(), client.Endpoints()[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range deltas {
		path := base.copied(t, deltas[:i+1]...)
		keys, leases := contents(t, path)
		for _, kv := range keys {
			if _, ok := leases[kv.Lease]; kv.Lease != 0 && !ok {
				t.Fatalf("delta %d..%d: key %s would live for ever: its lease %x is missing", d.Base, d.Last, kv.Key, kv.Lease)
			}
		}
		// Not all of them: it takes etcd's storage a while to open a file.
		if d.Last > status.CompactRevision && (i%max(1, len(deltas)/8) == 0 || i == len(deltas)-1) {
			sums(t, path, client, d.Last)
			n++
		}
	}
	return n
}

func upTo(deltas []*Delta, rev int64) []*Delta {
	for i, d := range deltas {
		if d.Last >= rev {
			return deltas[:i+1]
		}
	}
	return deltas
}

// ends compares keys and leases of the replayed file with the server's at that revision.
func ends(t *testing.T, client *clientv3.Client, path string, rev int64, before, after map[int64]int64) int {
	t.Helper()
	keys, leases := contents(t, path)
	answer, err := client.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithRev(rev))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]mvccpb.KeyValue{}
	for _, kv := range answer.Kvs {
		want[string(kv.Key)] = *kv
	}
	if diff := cmp.Diff(want, keys, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("keys at revision %d:\n%s", rev, diff)
	}
	for id, ttl := range after {
		if leases[id].TTL != ttl {
			t.Errorf("lease %x has %d seconds, not %d", id, leases[id].TTL, ttl)
		}
	}
	for id, l := range leases {
		if _, ok := before[id]; !ok {
			t.Errorf("lease %x (%d s) had ended before", id, l.TTL)
		}
	}
	return len(leases)
}

// living are the leases of the server and what they were granted.
func living(t *testing.T, client *clientv3.Client) map[int64]int64 {
	t.Helper()
	answer, err := client.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[int64]int64{}
	for _, l := range answer.Leases {
		one, err := client.TimeToLive(t.Context(), l.ID)
		if err != nil {
			t.Fatal(err)
		}
		if one.GrantedTTL > 0 {
			all[int64(l.ID)] = one.GrantedTTL
		}
	}
	return all
}
