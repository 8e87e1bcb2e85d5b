package etcd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rekindle/agent/store"
)

// rescuing brings a cluster of five to where one of its last two voters has begun to rescue it.
func (w *world) rescuing() (holder *node) {
	w.lived(5, time.Minute)
	w.locked(func() {
		for _, n := range w.masters()[2:] {
			n.terminate(false)
		}
	})
	ok := false
	for end := time.Now().Add(time.Hour); !ok && time.Now().Before(end); w.pass(3 * time.Millisecond) {
		w.locked(func() { ok = w.record.State == Rescuing })
	}
	w.locked(func() {
		if !ok {
			w.fail("nobody began to rescue: %s", brief(w.record))
		}
		holder = w.node(w.record.Holder.Instance)
	})
	return holder
}

// Whoever rescues and loses its disk, and not its life, gives up; then the other survivor rescues.
func TestRescuerLosesItsDisk(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		holder := w.rescuing()
		w.locked(func() {
			holder.halt("it was reset")
			holder.wipe("with the machine")
			holder.boot()
			w.want = 5
		})
		if w.settles(time.Hour); w.lossy > 0 {
			t.Errorf("%d acknowledged writes are lost, and one survivor had them all", len(w.forgiven))
		}
		if w.stats["row rescue after rescuer"] == 0 {
			t.Error("the other survivor did not take over")
		}
	})
}

// An agent that ends right after it began to rescue leaves no note behind: with one, its member would not start while the
// store cannot be read.
func TestRescuerForgetsItsNote(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		holder := w.rescuing()
		w.locked(func() {
			holder.agent.kill("after its swap")
			holder.startAgent()
			w.want = 2
		})
		w.settles(time.Hour)
		if holder.note != "" {
			t.Errorf("it still notes %q", holder.note)
		}
	})
}

// A record that cannot be read is not an absent one, even if nothing else in the store speaks of a cluster.
func TestUnknownIsNotAbsent(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		a := w.hand()
		a.keeper.Records = unreadable{a.keeper.Records}
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Minute)
		defer cancel()
		if config, err := a.keeper.Prepare(ctx, a.member); err == nil || config != nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s, %v", config, err)
		}
		if w.created > 0 || a.n.volume.marker != nil {
			t.Errorf("it began a cluster: %s", brief(w.record))
		}
	})
}

// unreadable is a store that can be written and listed, and not read.
type unreadable struct{ store.Records }

func (unreadable) Get(context.Context, string) ([]byte, store.Version, error) {
	return nil, "", errors.New("403 AccessDenied")
}

// A store that refuses every write of a record that nobody wrote is asked again in peace, and the operator is told.
func TestRefusedThoughUnchanged(t *testing.T) {
	simulate(t, 1, quiet, func(w *world) {
		a := w.hand()
		r := &refusing{Records: a.keeper.Records}
		a.keeper.Records = r
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Minute)
		defer cancel()
		if config, err := a.keeper.Prepare(ctx, a.member); err == nil || config != nil || !strings.Contains(err.Error(), "it has not") {
			t.Errorf("%s, %v", config, err)
		}
		if r.puts == 0 || r.puts > 600 {
			t.Errorf("%d writes in ten minutes", r.puts)
		}
	})
}

// refusing is a store whose record seems to change and does not.
type refusing struct {
	store.Records
	puts int
}

func (r *refusing) Put(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	if key != Key(simCluster) {
		return r.Records.Put(ctx, key, data, was)
	}
	r.puts++
	return "", store.ErrConflict
}
