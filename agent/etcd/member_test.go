package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"sigs.k8s.io/yaml"

	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rooted is a machine in a directory.
type rooted string

func (r rooted) Path(path string) (string, error) { return filepath.Join(string(r), path), nil }

func (r rooted) WriteFile(path string, data []byte, mode fs.FileMode) error {
	path = filepath.Join(string(r), path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}

func keeper(t *testing.T, records store.Records, instance string) *Keeper {
	t.Helper()
	return &Keeper{Records: records, Host: rooted(t.TempDir()), Instance: instance, Poll: time.Millisecond,
		Logger: slog.New(slog.DiscardHandler)}
}

func member() plan.Etcd {
	return plan.Etcd{Name: "main", Member: "etcd-a", DataDir: "/var/lib/etcd/main", ConfigPath: "/etc/etcd/main.yaml",
		PeerURL: "https://10.0.0.1:2380", ClientURL: "https://10.0.0.1:2379",
		Base: map[string]any{"quota-backend-bytes": 8 << 30}}
}

// starts is what etcd does with its first start: it makes the data directory.
func starts(t *testing.T, k *Keeper) {
	t.Helper()
	path, _ := k.Host.Path(dataDir(member()))
	if err := os.MkdirAll(filepath.Join(path, "member"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func prepare(t *testing.T, k *Keeper) map[string]any {
	t.Helper()
	text, err := k.Prepare(t.Context(), member())
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestPrepareCreatesThenStarts(t *testing.T) {
	records := store.NewDir(t.TempDir())
	k := keeper(t, records, "i-1")
	first := prepare(t, k)
	if first["initial-cluster-state"] != "new" || first["initial-cluster"] != "etcd-a=https://10.0.0.1:2380" {
		t.Errorf("first configuration: %v", first)
	}
	if first["quota-backend-bytes"] == nil {
		t.Error("the plan's base is gone")
	}
	// A crash before etcd made its data directory: the same creation goes on.
	if again := prepare(t, k); again["initial-cluster-token"] != first["initial-cluster-token"] {
		t.Errorf("after a crash the token is %v, was %v", again["initial-cluster-token"], first["initial-cluster-token"])
	}
	starts(t, k)
	second := prepare(t, k)
	if second["initial-cluster-state"] != "existing" || second["initial-cluster-token"] != first["initial-cluster-token"] {
		t.Errorf("second configuration: %v", second)
	}
	if left, _ := records.List(t.Context(), "etcd/main/selftest", 0); len(left) > 0 {
		t.Errorf("the self-test left %v", left)
	}
}

func TestPrepareRefuses(t *testing.T) {
	t.Run("a running cluster without data", func(t *testing.T) {
		records := store.NewDir(t.TempDir())
		first := keeper(t, records, "i-1")
		prepare(t, first)
		starts(t, first)
		confirm(t, first)
		_, err := keeper(t, records, "i-2").Prepare(t.Context(), member())
		wantBlocked(t, err, "runs in generation 1")
	})
	t.Run("a store that cannot be read", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := keeper(t, store.NewDir("/nowhere/at/all"), "i-1").Prepare(ctx, member())
		wantBlocked(t, err, "cannot be read")
	})
	t.Run("a damaged record", func(t *testing.T) {
		records := store.NewDir(t.TempDir())
		if _, err := records.Put(t.Context(), Key("main"), []byte("{"), ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := keeper(t, records, "i-1").Prepare(ctx, member())
		wantBlocked(t, err, "cannot be read")
	})
	t.Run("a damaged marker", func(t *testing.T) {
		k := keeper(t, store.NewDir(t.TempDir()), "i-1")
		if err := k.Host.WriteFile(markerPath(member()), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := k.Prepare(t.Context(), member())
		wantBlocked(t, err, "member.json")
	})
	t.Run("a store that ignores conditions", func(t *testing.T) {
		_, err := keeper(t, careless{store.NewDir(t.TempDir())}, "i-1").Prepare(t.Context(), member())
		wantBlocked(t, err, "If-None-Match")
	})
}

func wantBlocked(t *testing.T, err error, text string) {
	t.Helper()
	if reason, hint := status.ReasonOf(err); reason != status.ReasonEtcdBlocked || hint == "" {
		t.Errorf("reason %s, hint %q", reason, hint)
	}
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v does not say %q", err, text)
	}
}

// careless is a store that takes every write.
type careless struct{ *store.Dir }

func (c careless) Put(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	if _, now, err := c.Get(ctx, key); err == nil {
		was = now
	}
	return c.Dir.Put(ctx, key, data, was)
}

// lossy writes and then says that it did not, as a retried request whose first response was lost does.
type lossy struct {
	*store.Dir
	mu    sync.Mutex
	times int
}

func (l *lossy) Put(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	version, err := l.Dir.Put(ctx, key, data, was)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.times > 0 && strings.HasSuffix(key, "lineage.json") {
		l.times--
		return "", fmt.Errorf("%s: %w", key, store.ErrConflict)
	}
	return version, err
}

func TestPrepareAfterALostResponse(t *testing.T) {
	records := &lossy{Dir: store.NewDir(t.TempDir()), times: 1}
	if config := prepare(t, keeper(t, records, "i-1")); config["initial-cluster-state"] != "new" {
		t.Errorf("our own retried write was taken for another's: %v", config)
	}
}

func TestManyMastersCreateOneCluster(t *testing.T) {
	for round := range 20 {
		records := store.NewDir(t.TempDir())
		var created []string
		var mu sync.Mutex
		var masters sync.WaitGroup
		// However slow the machine is, somebody creates; the others get a while more to do so, too.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		for n := range 5 {
			k := keeper(t, records, fmt.Sprintf("i-%d", n))
			masters.Go(func() {
				if _, err := k.Prepare(ctx, member()); err == nil {
					mu.Lock()
					created = append(created, k.Instance)
					mu.Unlock()
					time.AfterFunc(80*time.Millisecond, cancel)
				} else if reason, _ := status.ReasonOf(err); reason != status.ReasonEtcdBlocked && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		masters.Wait()
		cancel()
		if len(created) != 1 {
			t.Fatalf("round %d: created by %v", round, created)
		}
	}
}

// confirm runs Confirm against an etcd that says it is healthy after two tries.
func confirm(t *testing.T, k *Keeper) bool {
	t.Helper()
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if tries++; tries < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"health":"false","reason":"RAFT NO LEADER"}`))
			return
		}
		_, _ = w.Write([]byte(`{"health":"true","reason":""}`))
	}))
	defer server.Close()
	m := member()
	m.Base["listen-metrics-urls"] = server.URL
	changed, err := k.Confirm(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestConfirm(t *testing.T) {
	records := store.NewDir(t.TempDir())
	k := keeper(t, records, "i-1")
	prepare(t, k)
	if !confirm(t, k) {
		t.Error("the first confirmation changed nothing")
	}
	raw, _, err := records.Get(t.Context(), Key("main"))
	if err != nil {
		t.Fatal(err)
	}
	if record, err := ParseLineage(raw); err != nil || record.State != Running {
		t.Errorf("record %s, error %v", raw, err)
	}
	if confirm(t, k) {
		t.Error("the second confirmation changed something")
	}
}

func TestConfirmGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	m := member()
	m.Base["listen-metrics-urls"] = "http://127.0.0.1:1"
	_, err := keeper(t, store.NewDir(t.TempDir()), "i-1").Confirm(ctx, m)
	wantBlocked(t, err, "does not answer")
	if errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestParseLineageRefuses(t *testing.T) {
	for _, text := range []string{``, `{}`, `[]`, `{"uid":"u"}`, `{"uid":"u","generation":1,"token":"t"}`,
		`{"uid":"u","generation":0,"token":"t","holder":{"instance":"i"},"members":[{}]}`,
		`{"uid":"u","generation":1,"token":"t","holder":{"instance":"i"},"members":[]}`} {
		if record, err := ParseLineage([]byte(text)); err == nil {
			t.Errorf("%s: taken for %+v", text, record)
		}
	}
}
