package care

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/status"
)

// A full etcd is solved in its turn, and where nothing is to be done no turn is taken.
func TestUpkeepOfAFullEtcd(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{Quota: 3 << 20})
	c := w.carer(w.cluster.Members[0], rarely())
	c.Config.Disabled = true
	var turns, held atomic.Int64
	c.Turn = func(context.Context) (func(context.Context, error) error, error) {
		turns.Add(1)
		held.Add(1)
		return func(context.Context, error) error { held.Add(-1); return nil }, nil
	}
	c.Board.Etcd("main", func(e *status.Etcd) { e.Members = []status.EtcdMember{{Name: c.Instance}} })
	n := w.run(w.cluster.Members[0], c)
	w.until("its health", func() bool { m := n.seen().Members[0]; return m.Health == "ok" && m.Version != "" && m.Quota == 3<<20 })
	time.Sleep(500 * time.Millisecond) // some rounds
	if turns.Load() != 0 {
		t.Errorf("%d turns were taken for nothing", turns.Load())
	}
	value := strings.Repeat("x", 64<<10)
	for {
		_, err := w.client.Put(t.Context(), "key", value) // history fills it
		if errors.Is(err, rpctypes.ErrNoSpace) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.until("writes to be taken again", func() bool {
		_, err := w.client.Put(t.Context(), "key", "small")
		return err == nil
	})
	w.until("the alarm to be over", func() bool { return len(n.seen().Alarms) == 0 && held.Load() == 0 })
	if turns.Load() == 0 {
		t.Error("members were defragmented out of turn")
	}
	w.end()
}

// What fails three times is shown as an alarm, and is gone once it works.
func TestWhatFailsIsShown(t *testing.T) {
	t.Parallel()
	u := &upkeep{term: &term{Carer: &Carer{Logger: discard}}, failing: map[string]int{}}
	fails := func(context.Context) error { return errors.New("no") }
	for range 2 {
		if u.step(t.Context(), "members", time.Second, fails); len(u.failed) > 0 {
			t.Fatalf("too early: %v", u.failed)
		}
	}
	if u.step(t.Context(), "members", time.Second, fails); fmt.Sprint(u.failed) != "[upkeep, members: no]" {
		t.Errorf("shown: %v", u.failed)
	}
	u.failed = nil
	slow := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	if u.step(t.Context(), "members", time.Millisecond, slow) || len(u.failed) != 1 {
		t.Errorf("a step that hangs: %v", u.failed)
	}
	u.failed = nil
	if !u.step(t.Context(), "members", time.Second, func(context.Context) error { return nil }) || u.failing["members"] != 0 {
		t.Error("success counts as a failure")
	}
}

// A leader that hands over before it is defragmented ends its term; the turn is kept until the defragmentation is over.
func TestATurnOutlivesItsTerm(t *testing.T) {
	t.Parallel()
	life, die := context.WithCancel(t.Context())
	defer die()
	term, over := context.WithCancel(life)
	released := false
	u := &upkeep{life: life, term: newTerm(&Carer{pace: often, Turn: func(context.Context) (func(context.Context, error) error, error) {
		return func(ctx context.Context, err error) error {
			released = true
			return ctx.Err()
		}, nil
	}})}
	err := u.inTurn(term, func(ctx context.Context) error {
		over()
		if released {
			return errors.New("the turn was given back too early")
		}
		return ctx.Err()
	})
	if err != nil || !released {
		t.Errorf("%v, released %t", err, released)
	}

	u.Turn = func(ctx context.Context) (func(context.Context, error) error, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	u.pace.turn = time.Millisecond
	if err := u.inTurn(life, func(context.Context) error { return nil }); err == nil || !strings.Contains(err.Error(), "another node") {
		t.Errorf("no turn: %v", err)
	}
}

func newTerm(c *Carer) *term { return &term{Carer: c} }

// Another cluster's servers are not asked twice.
func TestAnotherClusterIsRefused(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	c := w.carer(w.cluster.Members[0], rarely())
	term, err := c.elected(t.Context())
	if err != nil || term == nil {
		t.Fatalf("%v, %v", term, err)
	}
	defer term.client.Close()
	term.cluster++
	if _, err := term.dialAll(t.Context(), endpoints(term.record)); !errors.Is(err, peers.ErrOtherServer) {
		t.Errorf("%v", err)
	}
	w.end()
}
