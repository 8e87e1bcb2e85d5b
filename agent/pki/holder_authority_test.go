package pki

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// A minion that boots before the first master waits for it, and says so.
func TestHoldWaitsForTheAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, p, source := testDisk{}, minionPlan(), newSource(t)
		created := source.authorities[Kubernetes]
		source.set(Kubernetes, nil)
		h := &Holder{Source: source, Join: newMaster(t, source, p), Read: disk.read, Limit: 10 * time.Minute}
		waits := &waitNames{}
		done := make(chan error)
		go func() {
			_, _, err := h.Hold(status.WithWaits(t.Context(), waits), p, false)
			done <- err
		}()
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if !slices.Equal(waits.names, []string{"pki: kubernetes"}) {
			t.Errorf("it waits for %v", waits.names)
		}
		source.set(Kubernetes, created)
		began := time.Now()
		if err := <-done; err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}

		source.set(Kubernetes, nil)
		began = time.Now()
		_, _, err := h.Hold(t.Context(), p, false)
		if reason, _ := status.ReasonOf(err); reason != status.ReasonPKIBlocked || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Minute {
			t.Errorf("after %s: %v", time.Since(began), err)
		}

		stopped, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, stop)
		if _, _, err := h.Hold(stopped, p, false); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

type waitNames struct{ names []string }

func (w *waitNames) Begin(_ context.Context, name, _ string) status.WaitFunc {
	w.names = append(w.names, name)
	return func() {}
}

// While the store cannot be read, what lies on the disk serves on; where that is not enough, the error says so.
func TestHoldWithoutTheStore(t *testing.T) {
	outage := status.Fail(status.ReasonStoreUnreached, "", errors.New("503"))
	for _, p := range []*plan.Plan{masterPlan(), minionPlan()} {
		for name, spoil := range map[string]func(*testSource){
			"error":     func(s *testSource) { s.err = outage },
			"no answer": func(s *testSource) { s.slow = 24 * time.Hour },
			"lost":      func(s *testSource) { clear(s.authorities) },
		} {
			t.Run(fmt.Sprintf("%d authorities, %s", len(p.Authorities), name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk, source := testDisk{}, newSource(t)
					h := &Holder{Source: source, Join: newMaster(t, source, p), Read: disk.read, Limit: 10 * time.Minute}
					hold(t, h, disk, p)
					spoil(source)
					began := time.Now()
					fresh, warnings := hold(t, h, disk, p)
					if len(fresh) > 0 || len(warnings) != len(p.Authorities) || !strings.Contains(warnings[0], "what lies on this node's disk serves on") {
						t.Errorf("new: %v, warnings %q", fresh, warnings)
					}
					if took := time.Since(began); took > maxWait || name != "no answer" && took > 0 {
						t.Errorf("it took %s", took)
					}
					if p.Authorities[0].Key == "" {
						return
					}
					time.Sleep(22 * testDay) // it can still renew
					if fresh, _ := hold(t, h, disk, p); len(fresh) != 4 {
						t.Errorf("new: %v", fresh)
					}
					disk["/etc/kubernetes/pki/ca.key"] = nil
					if held, _, err := h.Hold(t.Context(), p, false); err == nil || held != nil {
						t.Error("it did without the authority's key")
					} else if reason, _ := status.ReasonOf(err); name == "error" && reason != status.ReasonStoreUnreached {
						t.Error(err)
					}
				})
			})
		}
	}
}

// A master never replaces an authority by one that has nothing to do with it; a node that only trusts follows, and says so.
func TestHoldAnotherAuthority(t *testing.T) {
	for _, name := range []string{Kubernetes, ServiceAccount} {
		disk, p, source := testDisk{}, masterPlan(), newSource(t)
		h := &Holder{Source: source, Read: disk.read}
		hold(t, h, disk, p)
		before := maps.Clone(disk)
		source.authorities[name] = testAuthority(t, name, 3650*testDay, time.Now())
		held, _, err := h.Hold(t.Context(), p, false)
		reason, hint := status.ReasonOf(err)
		if held != nil || reason != status.ReasonPKIBlocked || !strings.Contains(hint, "/etc/kubernetes/pki/") || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", held, err)
		}
		if !maps.EqualFunc(before, disk, slices.Equal) {
			t.Error("it wrote")
		}
	}
	disk, p, source := testDisk{}, minionPlan(), newSource(t)
	h := &Holder{Source: source, Join: newMaster(t, source, p), Read: disk.read}
	hold(t, h, disk, p)
	source.authorities[Kubernetes] = testAuthority(t, Kubernetes, 3650*testDay, time.Now())
	fresh, warnings := hold(t, h, disk, p)
	if len(fresh) != 4 || len(warnings) != 1 || !strings.Contains(warnings[0], "the store's is taken") {
		t.Errorf("new: %v, warnings %q", fresh, warnings)
	}
}

// An authority that ends soon is warned of, and its last days are not spent renewing.
// A master that was off while a rotation began and ended follows it: the record says which authorities it replaced.
func TestHoldAuthorityThatRetired(t *testing.T) {
	for _, name := range []string{Kubernetes, ServiceAccount} {
		disk, p, source := testDisk{}, masterPlan(), newSource(t)
		h := &Holder{Source: source, Read: disk.read}
		hold(t, h, disk, p)
		fresh := testAuthority(t, name, 3650*testDay, time.Now())
		fresh.Retired = []string{"of another rotation", source.authorities[name].Fingerprint()}
		source.set(name, fresh)
		changed, warnings := hold(t, h, disk, p)
		if len(changed) == 0 || len(warnings) > 0 {
			t.Errorf("%s: new: %v, warnings %q", name, changed, warnings)
		}
	}
}

func TestHoldEndingAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, p, source := testDisk{}, masterPlan(), newSource(t)
		source.authorities[Kubernetes] = testAuthority(t, Kubernetes, 9*testDay, time.Now())
		h := &Holder{Source: source, Read: disk.read}
		_, warnings := hold(t, h, disk, p)
		if len(warnings) != 1 || !strings.Contains(warnings[0], "rekindle pki rotate STORE begin kubernetes") {
			t.Errorf("warnings %q", warnings)
		}
		for range 9*24 - 1 {
			time.Sleep(time.Hour)
			if fresh, _ := hold(t, h, disk, p); len(fresh) > 0 {
				t.Fatalf("new: %v", fresh)
			}
		}
		time.Sleep(2 * time.Hour)
		if _, _, err := h.Hold(t.Context(), p, false); err == nil {
			t.Error("an authority that ended still signs")
		}
	})
}
