package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/host"
	"rekindle/agent/store"
)

// silent is a store that never answers.
type silent struct{ store.Store }

func (silent) Get(ctx context.Context, _ string) ([]byte, store.Version, error) {
	<-ctx.Done()
	return nil, "", context.Cause(ctx)
}

// An agent that starts again while the store is away takes part with the keys of its last run; one that has none does not, nor
// one whose cluster has no keyring any more.
func TestKeysOfTheLastRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machine := host.New(t.TempDir())
		if err := machine.MkdirAll("/var/lib/rekindle/gossip"); err != nil {
			t.Fatal(err)
		}
		run := func(records store.Store, at *host.Host) (gossip.Keyring, store.Version, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			f := &finding{Agent: &Agent{Options: Options{Logger: slog.New(slog.DiscardHandler)}, host: at},
				n: &node{inputs: &inputs{records: records}}, own: discovery.Peer{Role: "minion"}}
			return f.firstKeys(ctx)
		}
		records := store.NewDir(t.TempDir())
		if _, _, err := run(records, machine); !errors.Is(err, store.ErrAbsent) {
			t.Errorf("no keyring: %v", err)
		}
		want, version, err := gossip.EnsureKeyring(t.Context(), records)
		if err != nil {
			t.Fatal(err)
		}
		if got, v, err := run(records, machine); err != nil || v != version || got.Primary.ID != want.Primary.ID {
			t.Fatalf("%v %q %v", got, v, err)
		}
		path, err := machine.Path(keysState)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
		began := time.Now()
		if got, v, err := run(silent{records}, machine); err != nil || v != "" || got.Primary.ID != want.Primary.ID {
			t.Errorf("a silent store: %v %q %v", got, v, err)
		}
		if took := time.Since(began); took > keysLimit {
			t.Errorf("the others are without this node for %s", took)
		}
		if _, _, err := run(silent{records}, host.New(t.TempDir())); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a silent store and no keys: %v", err)
		}
		if _, _, err := run(store.NewDir(t.TempDir()), machine); !errors.Is(err, store.ErrAbsent) {
			t.Errorf("a keyring that was taken away: %v", err)
		}
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := run(silent{records}, machine); err == nil {
			t.Error("keys that cannot be read")
		}
	})
}
