package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/store"
)

func testTurns(records store.Records, instance string, health func(context.Context) error) *turns {
	return &turns{
		lock: store.NewLock(records, turnKey, instance, slog.New(slog.DiscardHandler)), health: health,
		settle: 20 * time.Second, limit: 5 * time.Minute,
	}
}

// A second node has its turn only after the first has been well for a while, however often that one falters.
func TestTurnsWaitForHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := store.NewDir(t.TempDir())
		began := time.Now()
		first := testTurns(records, "i-1", func(context.Context) error {
			if at := time.Since(began); at < 40*time.Second && at > 10*time.Second {
				return errors.New("restarting")
			}
			return nil
		})
		done, err := first.Take(t.Context(), []string{"etcd-main.service"})
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan time.Duration)
		go func() {
			other := testTurns(records, "i-2", func(context.Context) error { return nil })
			done, err := other.Take(t.Context(), nil)
			second <- time.Since(began)
			if err == nil {
				err = done(t.Context(), errors.New("its own affair"))
			}
			if err != nil {
				t.Error(err)
			}
			second <- time.Since(began)
		}()
		if err := done(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if well := time.Since(began); well < 58*time.Second || well > 65*time.Second {
			t.Errorf("the first was well after %s", well)
		}
		if at := <-second; at < 58*time.Second || at > 2*time.Minute {
			t.Errorf("the second had its turn after %s", at)
		}
		before := time.Since(began)
		if at := <-second; at-before > time.Second {
			t.Errorf("a failed apply kept its turn for %s", at-before)
		}
	})
}

// A node that does not become well gives its turn back and says so.
func TestTurnsEndWithoutHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := store.NewDir(t.TempDir())
		ill := testTurns(records, "i-1", func(context.Context) error { return errors.New("no leader") })
		done, err := ill.Take(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := done(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no leader") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		next := testTurns(records, "i-2", func(context.Context) error { return nil })
		done, err = next.Take(ctx, nil)
		if err != nil {
			t.Fatalf("the turn was not given back: %v", err)
		}
		if err := done(ctx, errors.New("enough")); err != nil {
			t.Error(err)
		}
	})
}

// Who lost the lease, say to a pause of the machine, does not believe to have it.
func TestTurnsThatWereLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := store.NewDir(t.TempDir())
		mine := testTurns(records, "i-1", func(context.Context) error { return errors.New("not yet") })
		done, err := mine.Take(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, version, err := records.Get(t.Context(), turnKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := records.Put(t.Context(), turnKey, []byte(`{"holder":"i-2","nonce":"x","beat":7}`), version); err != nil {
			t.Fatal(err)
		}
		if err := done(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "lost to another node") {
			t.Errorf("error %v", err)
		}
	})
}
