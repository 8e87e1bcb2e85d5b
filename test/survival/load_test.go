package survival

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/test/lab/node"
)

// replacements is how many masters are replaced in turn.
const replacements = 10

// election is how long a cluster with a quorum may acknowledge nothing, on a machine that is busy with others: a few elections, and
// a write that is given up after two seconds. Nobody rescues a cluster before it was without a leader for three times as long.
const election = 10 * time.Second

// Ten masters are replaced in turn under a writer, every other one the leader: nothing that was acknowledged is lost, and the two
// that are left acknowledge before the third one is replaced: they had to elect a leader at most.
func TestReplacedUnderLoad(t *testing.T) {
	survive(t, Shape{Masters: 3, Long: true}, func(ctx context.Context, c *Cluster) {
		c.Ready(ctx, 3)
		w := c.NewWriter(ctx, "load")
		seen := w.Seen(ctx)
		w.More(ctx, 50)
		_, first := c.Leader(ctx, c.Masters())
		leaders := 0
		for i := range replacements {
			victim := c.Masters()[0]
			leader, _ := c.Leader(ctx, c.Masters())
			if i%2 == 0 {
				victim = leader
			}
			if victim == leader {
				leaders++
			}
			c.replace(ctx, w, victim)
		}
		w.More(ctx, 50)
		w.Stop()
		acked := w.Acked()
		pause := w.Pause()
		client := c.Client(c.Masters()...)
		after := c.Read(ctx, client)
		if n := w.Survived(t, after); n != len(acked) {
			t.Errorf("of %d acknowledged writes the first %d are there", len(acked), n)
		}
		if pause >= election {
			t.Errorf("nothing was acknowledged for %v: that is no election", pause)
		}
		_, last := c.Leader(ctx, c.Masters())
		if last < first+uint64(leaders) {
			t.Errorf("term %d, was %d: %d leaders were ended", last, first, leaders)
		}
		c.Generation(1)
		c.Whole(ctx, client, 3)
		c.sawAll(ctx, client, len(acked), seen)
		t.Logf("measured: %d masters replaced, %d of them the leader, %d elections, %d writes acknowledged and none lost, longest pause %v",
			replacements, leaders, last-first, len(acked), pause.Round(time.Millisecond))
	})
}

// replace ends a master, sees that the others go on without it, and has it replaced: two members stay, one is new.
func (c *Cluster) replace(ctx context.Context, w *Writer, victim *node.Node) {
	c.t.Helper()
	before, members := c.Masters(), c.Whole(ctx, w.Client, 3)
	c.Cloud.Suspend(c.group(), "Launch")
	c.End(victim)
	w.More(ctx, 5)
	c.Cloud.Resume(c.group(), "Launch")
	c.New(ctx, before)
	if kept := common(members, c.Whole(ctx, w.Client, 3)); kept != 2 {
		c.t.Errorf("%d members stayed", kept)
	}
}

// sawAll fails unless the watcher saw the watched key change at every write, in order. A write whose answer was lost was
// repeated: its value comes twice.
func (c *Cluster) sawAll(ctx context.Context, client *clientv3.Client, writes int, seen func() []string) {
	c.t.Helper()
	now, err := client.Get(ctx, watched)
	if err != nil || len(now.Kvs) != 1 {
		c.t.Fatalf("%v, %v", now, err)
	}
	c.Await(ctx, "the watcher has seen the last change", func() error { return atLeast(len(seen()), int(now.Kvs[0].Version)) })
	values := seen()
	if int64(len(values)) != now.Kvs[0].Version {
		c.t.Errorf("the watcher saw %d changes of %d", len(values), now.Kvs[0].Version)
	}
	last := -1
	for _, value := range values {
		n, err := strconv.Atoi(value)
		if err != nil || n < last || n > last+1 {
			c.t.Fatalf("the watcher saw %q after %d: %v", value, last, err)
		}
		last = n
	}
	if last < writes-1 {
		c.t.Errorf("the watcher saw %d last, of %d writes", last, writes)
	}
}

// All masters are terminated at once under a writer, twice. What is lost is what the deltas had not brought to the store.
func TestTotalLossUnderLoad(t *testing.T) {
	survive(t, Shape{Masters: 3, Long: true}, func(ctx context.Context, c *Cluster) {
		client := c.Client(c.Ready(ctx, 3)...)
		deleted := c.Write(ctx, client, "deleted", 20)
		if _, err := client.Delete(ctx, "/test/deleted/", clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		c.lease(ctx, client)
		first := c.lost(ctx, 2)
		client = c.Client(c.Masters()[0])
		state := c.Read(ctx, client)
		for key := range deleted {
			if _, there := state.Keys[key]; there {
				t.Errorf("%s was deleted, and is there again", key)
			}
		}
		c.expires(ctx, client)
		client = c.Client(c.Ready(ctx, 3)...)
		c.Whole(ctx, client, 3)
		second := c.lost(ctx, 3)
		if second <= first+bump {
			t.Errorf("revision %d after the second restore, %d after the first", second, first)
		}
		c.Whole(ctx, c.Client(c.Ready(ctx, 3)...), 3)
	})
}

const (
	leased   = "/test/leased"
	leaseTTL = 20 // seconds; a restore makes it whole again
)

// lease puts a key that is kept alive until the client ends with its server.
func (c *Cluster) lease(ctx context.Context, client *clientv3.Client) {
	c.t.Helper()
	lease, err := client.Grant(ctx, leaseTTL)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := client.KeepAlive(ctx, lease.ID); err != nil {
		c.t.Fatal(err)
	}
	if _, err := client.Put(ctx, leased, "x", clientv3.WithLease(lease.ID)); err != nil {
		c.t.Fatal(err)
	}
	c.Stored(ctx, c.Read(ctx, client).Revision)
}

// expires waits until the key with the lease, which nobody keeps alive now, is gone. It has to be there first.
func (c *Cluster) expires(ctx context.Context, client *clientv3.Client) {
	c.t.Helper()
	there, err := client.Get(ctx, leased)
	if err != nil || len(there.Kvs) != 1 || there.Kvs[0].Lease == 0 {
		c.t.Fatalf("the key with a lease is not there after the restore: %v, %v", there, err)
	}
	start := time.Now()
	c.Await(ctx, "the lease expires", func() error {
		answer, err := client.Get(ctx, leased)
		if err == nil && len(answer.Kvs) > 0 {
			err = fmt.Errorf("%v", answer.Kvs[0])
		}
		return err
	})
	c.t.Logf("measured: a key with a lease of %d s was there, and went after %v", leaseTTL, time.Since(start).Round(time.Second))
}

// lost ends all masters under a writer, waits for the first one that is back, and returns the revision then. The others may
// still be joining.
func (c *Cluster) lost(ctx context.Context, generation int) int64 {
	t := c.t
	t.Helper()
	before := c.Masters()
	w := c.NewWriter(ctx, fmt.Sprint("before-", generation))
	w.More(ctx, 100)
	c.Stored(ctx, w.Acked()[0].Revision) // there is a full backup, and deltas follow it
	watching := c.Client(before...)
	events := watching.Watch(ctx, "/test/", clientv3.WithPrefix())
	follows := time.Now()
	w.More(ctx, 400)
	c.Await(ctx, "more was written than may be lost", func() error { // else it could not be too much
		return atLeast(int(time.Since(follows)), int(deltasLate+2*time.Second))
	})
	c.End(before...)
	w.Stop()
	start := time.Now()
	acked := w.Acked()
	last := acked[len(acked)-1]
	back := c.anyReady(ctx)
	client := c.Client(back)
	t.Logf("measured: the first of three masters serves generation %d after %v", generation, time.Since(start).Round(100*time.Millisecond))
	state := c.Read(ctx, client)
	n := w.Survived(t, state)
	stored := c.reached(ctx, generation-1)
	if n == 0 {
		t.Fatal("nothing survived")
	}
	if acked[n-1].Revision > stored || n < len(acked) && acked[n].Revision <= stored {
		t.Errorf("the store reached revision %d; the last write that survived is %d, of %d to %d", stored, acked[n-1].Revision, acked[0].Revision, last.Revision)
	}
	window := last.At.Sub(acked[n-1].At)
	t.Logf("measured: of %d writes acknowledged in %v the last %d are lost: %v", len(acked), last.At.Sub(acked[0].At).Round(time.Millisecond), len(acked)-n, window.Round(time.Millisecond))
	if window > deltasLate {
		t.Errorf("what was acknowledged in the last %v is lost, more than the deltas' interval and an upload", window)
	}
	c.Raised(ctx, client, last.Revision, state.Revision)
	watching.SetEndpoints(c.Etcd("main").Endpoints(back)...)
	c.interrupted(ctx, events, last.Revision)
	c.Generation(generation)
	return state.Revision
}

// interrupted waits until who watched when the masters ended is told that it missed something. It may not hear of anything new
// before that.
func (c *Cluster) interrupted(ctx context.Context, events clientv3.WatchChan, last int64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case answer, open := <-events:
			switch {
			case answer.CompactRevision > last:
				return
			case !open || answer.Err() != nil:
				c.t.Fatalf("the watch ended, and not since it missed something: %v", answer.Err())
			case answer.Header.Revision > last+bump/2:
				c.t.Fatalf("the watcher got %d events of revision %d, and was not told that it missed any", len(answer.Events), answer.Header.Revision)
			}
		case <-ctx.Done():
			c.t.Fatal("the watcher hears nothing of the restore")
		}
	}
}

// reached is how far what was stored of a generation that is over goes. An upload may have arrived after its sender had died.
func (c *Cluster) reached(ctx context.Context, generation int) int64 {
	c.t.Helper()
	stored, err := c.Etcd("main").Stored(ctx, generation)
	if err != nil {
		c.t.Fatal(err)
	}
	return stored.Reaches
}

// deltasLate is by how much deltas, of an interval of two seconds, may be late on a machine that is busy with others.
const deltasLate = 10 * time.Second

// anyReady waits for the first master that is ready.
func (c *Cluster) anyReady(ctx context.Context) (ready *node.Node) {
	c.t.Helper()
	c.Await(ctx, "a master is ready", func() error {
		for _, n := range c.Masters() {
			if s, err := n.Status(); err == nil && s.Agent.PID == n.PID() && s.State == "ready" {
				ready = n
				return nil
			}
		}
		return fmt.Errorf("none of %d", len(c.Masters()))
	})
	return ready
}
