package pki

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/status"
	"rekindle/agent/store"
)

// memory is a store that keeps its records in memory.
type memory struct {
	mu       sync.Mutex
	records  map[string]string
	versions map[string]int
	puts     []string // the keys that were really written, in order
	ignores  bool     // it ignores conditions, as some S3-compatible stores do
}

func newMemory() *memory { return &memory{records: map[string]string{}, versions: map[string]int{}} }

func (m *memory) version(key string) store.Version {
	return store.Version(fmt.Sprint(m.versions[key]))
}

func (m *memory) Get(_ context.Context, key string) ([]byte, store.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.records[key]
	if !ok {
		return nil, "", fmt.Errorf("%s: %w", key, store.ErrAbsent)
	}
	return []byte(data), m.version(key), nil
}

func (m *memory) Put(_ context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.records[key]; !m.ignores && (ok != (was != "") || ok && m.version(key) != was) {
		return "", fmt.Errorf("%s: %w", key, store.ErrConflict)
	}
	m.records[key] = string(data)
	m.versions[key]++
	m.puts = append(m.puts, key)
	return m.version(key), nil
}

func (m *memory) List(_ context.Context, prefix string, limit int) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key := range m.records {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if limit > 0 && len(keys) > limit {
		keys = keys[:limit]
	}
	return keys, nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, key)
	return nil
}

// unreliable is a store as one master sees it over a bad network: answers come late, requests are lost before or after
// they were carried out, and S3 answers 409 to writes that meet.
type unreliable struct {
	*memory
	mu     sync.Mutex
	random *rand.Rand
	faults map[string]int // what was injected, by kind
}

var errServer = errors.New("503: SlowDown")

func (u *unreliable) draw(n int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.random.IntN(n)
}

func (u *unreliable) injected(kind string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.faults[kind]++
}

func (u *unreliable) late() { time.Sleep(time.Duration(u.draw(40)) * time.Millisecond) }

func (u *unreliable) Get(ctx context.Context, key string) ([]byte, store.Version, error) {
	u.late()
	if u.draw(10) == 0 {
		u.injected("5xx of a get")
		return nil, "", errServer
	}
	return u.memory.Get(ctx, key)
}

func (u *unreliable) Put(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	u.late()
	switch u.draw(8) {
	case 0:
		u.injected("lost before it was carried out")
		return "", errServer
	case 1:
		u.injected("409")
		return "", fmt.Errorf("%s: %w", key, store.ErrConflict)
	case 2:
		u.injected("lost after it was carried out")
		_, _ = u.memory.Put(ctx, key, data, was)
		return "", errServer
	case 3: // the SDK tried again by itself: the first try was carried out, and the second met what the first wrote
		u.injected("412 to a retry")
		if _, err := u.memory.Put(ctx, key, data, was); err != nil {
			return "", err
		}
		return u.memory.Put(ctx, key, data, was)
	}
	version, err := u.memory.Put(ctx, key, data, was)
	if errors.Is(err, store.ErrConflict) {
		u.injected("412")
	}
	u.late()
	return version, err
}

func (u *unreliable) List(ctx context.Context, prefix string, limit int) ([]string, error) {
	u.late()
	if u.draw(10) == 0 {
		u.injected("5xx of a list")
		return nil, errServer
	}
	return u.memory.List(ctx, prefix, limit)
}

func testVault(records store.Records) *Vault {
	return &Vault{Cluster: "prod", Instance: "i-1", Records: records, Algorithm: "ECDSA-P256",
		AuthorityLife: 24 * 365 * time.Hour}
}

// Two masters that boot at once, over a network that fails them in every way, have one authority of each name: 500 times.
// Meanwhile their etcd writes its lineage, which is no evidence of an older cluster until etcd serves.
func TestTwoMastersCreateOneAuthority(t *testing.T) {
	faults := map[string]int{}
	for seed := range uint64(500) {
		synctest.Test(t, func(t *testing.T) { raceOnce(t, seed, faults) })
	}
	t.Log(faults)
	for _, kind := range []string{"5xx of a get", "5xx of a list", "409", "412", "412 to a retry",
		"lost before it was carried out", "lost after it was carried out"} {
		if faults[kind] < 50 {
			t.Errorf("%q was injected %d times: this run shows nothing", kind, faults[kind])
		}
	}
}

func raceOnce(t *testing.T, seed uint64, faults map[string]int) {
	shared := newMemory()
	var masters sync.WaitGroup
	var got [2]map[string]*Authority
	views := [2]*unreliable{}
	for n := range got {
		view := &unreliable{memory: shared, random: rand.New(rand.NewPCG(seed, uint64(n))), faults: map[string]int{}}
		views[n] = view
		masters.Go(func() { got[n] = bootstrap(t, view, fmt.Sprintf("i-%d", n)) })
	}
	masters.Wait()
	for _, name := range Names {
		one, other := got[0][name], got[1][name]
		if one == nil || other == nil {
			t.Fatalf("seed %d: a master has no authority %s", seed, name)
		}
		if one.Fingerprint() != other.Fingerprint() || !fits(one.Key, other.Key.Public()) {
			t.Errorf("seed %d: the masters have different authorities %s", seed, name)
		}
		if written := count(shared.puts, PrivateKey(name)); written != 1 {
			t.Errorf("seed %d: %s was written %d times", seed, PrivateKey(name), written)
		}
		if public, err := testVault(shared).Public(t.Context(), name); err != nil || public.Fingerprint() != one.Fingerprint() {
			t.Errorf("seed %d: the public part of %s is another's: %v", seed, name, err)
		}
	}
	for _, view := range views {
		for kind, n := range view.faults {
			faults[kind] += n
		}
	}
}

// bootstrap asks for all authorities at once, as a boot does, each until it has it; then etcd serves.
func bootstrap(t *testing.T, records store.Records, instance string) map[string]*Authority {
	vault := testVault(records)
	vault.Instance = instance
	have := map[string]*Authority{}
	var mu sync.Mutex
	var each sync.WaitGroup
	for _, name := range Names {
		each.Go(func() {
			for range 200 {
				a, err := vault.Private(t.Context(), name)
				if err == nil {
					mu.Lock()
					have[name] = a
					mu.Unlock()
					return
				}
				if reason, _ := status.ReasonOf(err); reason == status.ReasonPKIBlocked && !strings.Contains(err.Error(), "in a row") {
					t.Errorf("blocked: %v", err)
					return
				}
				time.Sleep(time.Second)
			}
			t.Errorf("%s: no authority %s after 200 tries", instance, name)
		})
	}
	_, _ = records.Put(t.Context(), "etcd/main/lineage.json", []byte(`{"state":"creating"}`), "")
	each.Wait()
	if data, version, err := records.Get(t.Context(), "etcd/main/lineage.json"); err == nil && strings.Contains(string(data), "creating") {
		_, _ = records.Put(t.Context(), "etcd/main/lineage.json", []byte(`{"state":"running"}`), version)
	}
	return have
}

func count(all []string, what string) int {
	n := 0
	for _, one := range all {
		if one == what {
			n++
		}
	}
	return n
}
