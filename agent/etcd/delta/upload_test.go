package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

func TestUploadWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	base := take(t, client)
	objects := newBlobs()
	lost := 0
	objects.after = func(string) error { // under the lock
		if lost++; lost <= 3 {
			return errors.New("connection reset by peer")
		}
		return nil
	}
	f := follow(t, client, base, objects, Options{}, nil)
	for range 4 {
		f.mark(t, client)
	}
	if at := contiguous(t, base, objects.all(t)); at < f.progress().Last {
		t.Errorf("stored up to %d, reported %d", at, f.progress().Last)
	}
	if lost < 4 {
		t.Errorf("only %d objects were written", lost)
	}
}

// An object is in the way: the same writes, as another member saw them; or something else.
func TestUploadMeetsAnotherObject(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Delta)
		gap    bool
	}{
		"the same writes, other leases": {func(d *Delta) { d.Taken, d.Leases = time.Unix(9, 0), []Lease{{ID: 4, TTL: 9}} }, false},
		"another value":                 {func(d *Delta) { d.Changes[0].Kv.Value = []byte("other") }, true},
		"another lineage":               {func(d *Delta) { d.UID = "other" }, true},
		"another generation":            {func(d *Delta) { d.Generation++ }, true},
		"nothing that can be read":      {nil, true},
	} {
		d := sample(random(8), 5, 6)
		other := sample(random(8), 5, 6)
		var body bytes.Buffer
		if c.change != nil {
			c.change(other)
			if err := Write(&body, other); err != nil {
				t.Fatal(name, err)
			}
		}
		objects := newBlobs()
		s := &Stream{Blobs: objects}
		s.fill()
		r := &run{Stream: s, buffer: newBuffer(5, 1)}
		objects.objects[r.base.DeltaKey(5, 11)] = body.Bytes()
		if err := r.upload(t.Context(), d); errors.Is(err, ErrGap) != c.gap || err != nil && !c.gap {
			t.Errorf("%s: error %v, want a gap: %t", name, err, c.gap)
		}
	}
}

// A store that takes nothing for longer than there is patience.
func TestUploadNeverSucceeds(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	base := take(t, client)
	objects := newBlobs()
	objects.before = func(context.Context, string) error { return errors.New("AccessDenied") }
	f := follow(t, client, base, objects, Options{Patience: 500 * time.Millisecond}, nil)
	put(t, client, "k", "v")
	if err := f.ended(t); !errors.Is(err, ErrBehind) || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("error %v, want ErrBehind and why", err)
	}
	if p := f.progress(); p.Err == nil || p.Last != base.entry.Revision {
		t.Errorf("progress %+v does not tell of the failure", p)
	}
}

// A store that is slow, but fast enough on the whole: nothing is lost, whatever it takes.
func TestSlowStore(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	base := take(t, client)
	objects := newBlobs()
	objects.before = func(ctx context.Context, _ string) error { return pause(ctx, 150*time.Millisecond) }
	const limit = 100_000
	flood(t, client, 1000, 1) // to be caught up with
	f := follow(t, client, base, objects, Options{MaxBytes: limit}, nil)
	flood(t, client, 500, 1)
	end := f.mark(t, client)
	if at := contiguous(t, base, objects.all(t)); at != end {
		t.Errorf("stored up to %d, written %d", at, end)
	}
	catching := 0
	for _, d := range objects.all(t) {
		if !d.Settled {
			catching++
		}
		if n := held(d); n > limit/2 && d.Last > d.Base+1 {
			t.Errorf("delta %d..%d holds %d bytes, more than half of the room", d.Base, d.Last, n)
		}
	}
	if all := objects.all(t); catching == 0 || !all[len(all)-1].Settled {
		t.Errorf("%d of %d deltas say that the watch was catching up, the last one settled: %t", catching, len(all), all[len(all)-1].Settled)
	}
	sums(t, base.copied(t, objects.all(t)...), client, end)
}

func held(d *Delta) (n int) {
	for i := range d.Changes {
		n += size(&d.Changes[i])
	}
	return n
}

// More is written than a slow store takes: it ends with ErrBehind, and memory was bounded all the time, whether the watch has
// to look up what was written before, or is flooded while it waits for the store.
func TestBehind(t *testing.T) {
	t.Parallel()
	const limit, keys = 256 << 10, 10
	o := Options{MaxBytes: limit, Patience: 2500 * time.Millisecond}
	for name, c := range map[string]struct {
		ahead int           // revisions of ten keys that are written before the watch begins
		later int           // and while it runs
		takes time.Duration // an upload; more than a quarter of Patience: none succeeds
	}{
		"catching up": {1500, 0, 500 * time.Millisecond},
		"burst":       {0, 5000, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := single(t)
			base := take(t, client)
			flood(t, client, c.ahead, keys)
			objects := newBlobs()
			objects.before = func(ctx context.Context, _ string) error { return pause(ctx, c.takes) }
			f := follow(t, client, base, objects, o, nil)
			flood(t, client, c.later, keys)
			if err := f.ended(t); !errors.Is(err, ErrBehind) {
				t.Errorf("error %v, want ErrBehind", err)
			}
			// One answer of etcd comes on top of the limit: a thousand revisions at most.
			const change = overhead + 10 + 100
			if f.most > limit+1000*keys*change {
				t.Errorf("%d bytes were held, more than %d and one answer of etcd", f.most, limit)
			}
			contiguous(t, base, objects.all(t)) // what is stored is good nevertheless
			t.Logf("at most %d bytes held of %d written, stored up to revision %d of %d",
				f.most, (c.ahead+c.later)*keys*change, f.progress().Last, 1+c.ahead+c.later)
		})
	}
}

// flood writes n revisions of so many keys each, from many clients at once.
func flood(t *testing.T, client *clientv3.Client, n, keys int) {
	t.Helper()
	value := strings.Repeat("v", 100)
	var group errgroup.Group
	group.SetLimit(32)
	for i := range n {
		group.Go(func() error {
			var ops []clientv3.Op
			for k := range keys {
				ops = append(ops, clientv3.OpPut(fmt.Sprintf("k%07d-%d", i%1000, k), value))
			}
			_, err := client.Txn(t.Context()).Then(ops...).Commit()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}
