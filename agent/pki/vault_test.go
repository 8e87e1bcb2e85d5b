package pki

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/status"
	"rekindle/agent/store"
)

// scripted is a store that answers the next requests for a key with errors of the test's choice.
type scripted struct {
	*memory
	mu     sync.Mutex
	get    map[string]error
	put    map[string][]error // nil: carried out; lost: carried out, and the response lost
	before func(verb, key string)
}

var errLost = errors.New("lost")

func (s *scripted) Get(ctx context.Context, key string) ([]byte, store.Version, error) {
	if s.before != nil {
		s.before("get", key)
	}
	if err := s.get[key]; err != nil {
		return nil, "", err
	}
	return s.memory.Get(ctx, key)
}

func (s *scripted) Put(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	s.mu.Lock()
	var next error
	if left := s.put[key]; len(left) > 0 {
		next, s.put[key] = left[0], left[1:]
	}
	s.mu.Unlock()
	if errors.Is(next, errLost) {
		_, _ = s.memory.Put(ctx, key, data, was)
	}
	if next != nil {
		return "", next
	}
	return s.memory.Put(ctx, key, data, was)
}

func wantReason(t *testing.T, err error, reason status.Reason, hint string) {
	t.Helper()
	got, said := status.ReasonOf(err)
	if got != reason || !strings.Contains(said, hint) {
		t.Errorf("reason %s, hint %q; want %s with %q; the error is %v", got, said, reason, hint, err)
	}
}

func TestVaultOverADirectory(t *testing.T) {
	records := store.NewDir(t.TempDir())
	for _, name := range Names {
		vault := testVault(records)
		if _, err := vault.Public(t.Context(), name); !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: before it exists: %v", name, err)
		}
		a, err := vault.Private(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		again, err := testVault(records).Private(t.Context(), name)
		if err != nil || again.Fingerprint() != a.Fingerprint() || !fits(again.Key, a.Key.Public()) {
			t.Errorf("%s: read again: %v", name, err)
		}
		public, err := vault.Public(t.Context(), name)
		if err != nil || public.Key != nil || public.Fingerprint() != a.Fingerprint() {
			t.Errorf("%s: public: %v", name, err)
		}
	}
	if _, err := testVault(records).Private(t.Context(), "kubelet"); err == nil {
		t.Error("made an authority that does not exist")
	}
	if _, err := testVault(store.NewDir("/nowhere")).Private(t.Context(), Etcd); errors.Is(err, ErrAbsent) || err == nil {
		t.Errorf("a store that is not there: %v", err)
	}
}

// What cannot be read is never created.
func TestUnknownIsNeverCreated(t *testing.T) {
	for _, key := range []string{PrivateKey(Etcd), PublicKey(Etcd), "etcd/main/lineage.json"} {
		records := &scripted{memory: newMemory(), get: map[string]error{key: errServer}}
		records.records["etcd/main/lineage.json"] = `{"state":"creating"}`
		_, err := testVault(records).Private(t.Context(), Etcd)
		wantReason(t, err, status.ReasonStoreUnreached, "")
		if len(records.puts) != 0 {
			t.Errorf("%s unreadable: wrote %v", key, records.puts)
		}
	}
}

func TestEvidence(t *testing.T) {
	for name, test := range map[string]struct {
		records map[string]string
		disk    string
		want    string // "" creates
	}{
		"nothing":              {nil, "", ""},
		"other authorities":    {map[string]string{PrivateKey(Kubernetes): "{}", PublicKey(Kubernetes): "x"}, "", ""},
		"etcd being created":   {map[string]string{"etcd/main/lineage.json": `{"state":"creating"}`}, "", ""},
		"a self-test's rest":   {map[string]string{"etcd/main/selftest-0123": "1"}, "", ""},
		"its public part":      {map[string]string{PublicKey(Etcd): "x"}, "", "pki/public/etcd.crt is"},
		"etcd that serves":     {map[string]string{"etcd/main/lineage.json": `{"state":"running"}`}, "", "etcd/main/lineage.json is"},
		"etcd being restored":  {map[string]string{"etcd/main/lineage.json": `{"state":"restoring"}`}, "", "etcd/main/lineage.json is"},
		"a garbled lineage":    {map[string]string{"etcd/events/lineage.json": "{"}, "", "etcd/events/lineage.json is"},
		"a backup":             {map[string]string{"etcd/main/backups/1/x/manifest.json": "{}"}, "", "backups/1/x/manifest.json is"},
		"this node's own disk": {nil, "/etc/kubernetes/pki/etcd/ca.key", "/etc/kubernetes/pki/etcd/ca.key is"},
	} {
		t.Run(name, func(t *testing.T) {
			records := newMemory()
			for key, text := range test.records {
				records.records[key] = text
			}
			vault := testVault(records)
			vault.Evidence = func(context.Context, string) (string, error) { return test.disk, nil }
			_, err := vault.Private(t.Context(), Etcd)
			wantError(t, err, test.want)
			if test.want == "" {
				return
			}
			wantReason(t, err, status.ReasonPKIBlocked, "rekindle pki import")
			if len(records.puts) != 0 {
				t.Errorf("wrote %v", records.puts)
			}
			vault.Anyway = true
			if _, err := vault.Private(t.Context(), Etcd); err != nil {
				t.Errorf("anyway: %v", err)
			}
		})
	}
	records := newMemory()
	records.records["etcd/main/lineage.json"] = `{"state":"running"}`
	vault := testVault(records)
	_, err := vault.Private(t.Context(), Kubernetes)
	wantError(t, err, "etcd/main/lineage.json is")
	vault.EtcdApart = true
	if _, err := vault.Private(t.Context(), Kubernetes); err != nil {
		t.Errorf("the first master beside nodes of etcd's own: %v", err)
	}
	_, err = vault.Private(t.Context(), Etcd)
	wantError(t, err, "etcd/main/lineage.json is")
	vault = testVault(newMemory())
	vault.Evidence = func(context.Context, string) (string, error) { return "", errServer }
	if _, err := vault.Private(t.Context(), Etcd); !errors.Is(err, errServer) {
		t.Errorf("evidence that cannot be looked at: %v", err)
	}
}

// Another master may create the authority, and etcd begin to serve, between this one's look and its listing.
func TestEvidenceThatAnotherMasterJustMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := newMemory()
		other := testVault(shared)
		late := &scripted{memory: shared}
		var once sync.Once
		late.before = func(verb, key string) {
			if key != PublicKey(Etcd) {
				return
			}
			once.Do(func() {
				if _, err := other.Private(t.Context(), Etcd); err != nil {
					t.Error(err)
				}
				shared.records["etcd/main/lineage.json"] = `{"state":"running"}`
			})
		}
		a, err := testVault(late).Private(t.Context(), Etcd)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := other.Private(t.Context(), Etcd); err != nil || a.Fingerprint() != b.Fingerprint() {
			t.Errorf("two authorities, or %v", err)
		}
	})
}

func TestLostResponses(t *testing.T) {
	conflict := store.ErrConflict
	for name, test := range map[string]struct {
		put  []error
		want bool // the first call succeeds
	}{
		"none":                      {nil, true},
		"409 without a winner":      {[]error{conflict, conflict, conflict}, true},
		"applied, then 5xx":         {[]error{errLost}, false},
		"5xx":                       {[]error{errServer}, false},
		"somebody is always faster": {slices.Repeat([]error{conflict}, tries), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				records := &scripted{memory: newMemory(), put: map[string][]error{PrivateKey(Etcd): test.put}}
				vault := testVault(records)
				_, err := vault.Private(t.Context(), Etcd)
				if (err == nil) != test.want {
					t.Errorf("first: %v", err)
				}
				if reason, _ := status.ReasonOf(err); err != nil && reason == status.ReasonUnknown {
					t.Errorf("no reason: %v", err)
				}
				if _, err := vault.Private(t.Context(), Etcd); err != nil {
					t.Errorf("second: %v", err)
				}
				if n := count(records.puts, PrivateKey(Etcd)); n != 1 {
					t.Errorf("written %d times", n)
				}
			})
		})
	}
}

func TestStoreThatIgnoresConditions(t *testing.T) {
	records := newMemory()
	records.ignores = true
	_, err := testVault(records).Private(t.Context(), Etcd)
	wantReason(t, err, status.ReasonPKIBlocked, "honours If-None-Match")
	if count(records.puts, PrivateKey(Etcd)) != 0 {
		t.Error("an authority was written all the same")
	}
}

// The public part is repaired when it is gone, changed, or of an older generation, and only then written.
func TestPublicFollowsPrivate(t *testing.T) {
	records := newMemory()
	vault := testVault(records)
	a, err := vault.Private(t.Context(), Kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "garbage", string(made(t, Kubernetes).CertificatePEM())} {
		records.records[PublicKey(Kubernetes)] = text
		if text == "" {
			delete(records.records, PublicKey(Kubernetes))
		}
		if text == "garbage" {
			_, err := vault.Public(t.Context(), Kubernetes)
			wantReason(t, err, status.ReasonPKIBlocked, "delete the object")
		}
		if _, err := vault.Private(t.Context(), Kubernetes); err != nil {
			t.Error(err)
		}
		if !bytes.Equal([]byte(records.records[PublicKey(Kubernetes)]), a.CertificatePEM()) {
			t.Errorf("%.20q was left", text)
		}
	}
	before := len(records.puts)
	if _, err := vault.Private(t.Context(), Kubernetes); err != nil || len(records.puts) != before {
		t.Errorf("wrote %v without need, error %v", records.puts[before:], err)
	}
}

// A master that read the record before a rotation must not put the older bundle over the newer.
func TestPublishDoesNotGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := newMemory()
		operator := testVault(shared)
		stale, err := operator.Private(t.Context(), Kubernetes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := operator.Rotate(t.Context(), Kubernetes, StepBegin, Guard{}); err != nil {
			t.Fatal(err)
		}
		if err := operator.Publish(t.Context(), stale); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(shared.records[PublicKey(Kubernetes)], "BEGIN"); n != 2 {
			t.Errorf("%d generations are public, want both", n)
		}
	})
}

func TestExpiredAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := newMemory()
		vault := testVault(records)
		if _, err := vault.Private(t.Context(), Kubernetes); err != nil {
			t.Fatal(err)
		}
		time.Sleep(vault.AuthorityLife + time.Second)
		_, err := vault.Private(t.Context(), Kubernetes)
		wantReason(t, err, status.ReasonPKIBlocked, "rekindle pki rotate STORE begin kubernetes")
		_, err = vault.Public(t.Context(), Kubernetes)
		wantReason(t, err, status.ReasonPKIBlocked, "check the node's clock")
		for _, step := range []string{StepBegin, StepPromote, StepFinish} {
			if _, err := vault.Rotate(t.Context(), Kubernetes, step, Guard{Settle: time.Hour, Life: time.Hour, Force: true}); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		}
		if _, err := vault.Private(t.Context(), Kubernetes); err != nil {
			t.Errorf("after the rotation: %v", err)
		}
	})
}

func TestWarnsOnceOfAnUnsealedRecord(t *testing.T) {
	records := newMemory()
	if _, err := testVault(records).Private(t.Context(), Etcd); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	vault := testVault(records)
	vault.Seal, vault.Logger = newKMS().sealer(), slog.New(slog.NewTextHandler(&said, nil))
	for range 3 {
		if _, err := vault.Private(t.Context(), Etcd); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(said.String(), "rekindle pki seal STORE") != 1 || strings.Contains(said.String(), "PRIVATE") {
		t.Errorf("said %s", said.String())
	}
}
