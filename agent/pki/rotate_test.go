package pki

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/status"
	"rekindle/agent/store"
)

var guard = Guard{Settle: time.Hour, Life: 30 * 24 * time.Hour}

// A chain that the old generation signed is accepted from begin until finish, and one of the new from begin on.
func TestRotation(t *testing.T) {
	for _, name := range []string{Kubernetes, ServiceAccount} {
		first := recordOf(t, name)
		fresh := made(t, name)
		begun := step(t, func() (*Record, error) { return first.begin(fresh, start) })
		promoted := step(t, func() (*Record, error) { return begun.promote(guard, start.Add(time.Hour)) })
		finished := step(t, func() (*Record, error) { return promoted.finish(guard, start.Add(31*24*time.Hour)) })
		old, _ := first.Authority()
		for _, want := range []struct {
			record  *Record
			signs   string
			trusted int
		}{
			{first, old.Fingerprint(), 1}, {begun, old.Fingerprint(), 2}, {promoted, fresh.Fingerprint(), 2},
			{finished, fresh.Fingerprint(), 1},
		} {
			a, err := want.record.Authority()
			if err != nil || a.Check(start) != nil {
				t.Fatal(err, a.Check(start))
			}
			if a.Fingerprint() != want.signs || len(a.Certificates)+len(a.Keys) != want.trusted {
				t.Errorf("%s: %s signs, %d trusted; want %s and %d", name, a.Fingerprint(), len(a.Certificates)+len(a.Keys), want.signs, want.trusted)
			}
		}
		if a, _ := finished.Authority(); !slices.Equal(a.Retired, []string{old.Fingerprint()}) {
			t.Errorf("%s: %v are retired, want %s", name, a.Retired, old.Fingerprint())
		}
		aborted := step(t, begun.abort)
		if a, _ := aborted.Authority(); a.Fingerprint() != old.Fingerprint() || aborted.Rotation != nil {
			t.Errorf("%s: abort left %+v", name, aborted)
		}
	}
}

// step takes one, and checks that the record is one that can be stored, and that the one before was left alone.
func step(t *testing.T, take func() (*Record, error)) *Record {
	t.Helper()
	record, err := take()
	if err != nil {
		t.Fatal(err)
	}
	data, err := record.encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseRecord(data, "prod", record.Name)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// Extra certificates, as an imported bundle has, are trusted before, during and after a rotation.
func TestRotationKeepsWhatIsTrusted(t *testing.T) {
	extra := made(t, Kubernetes)
	a := made(t, Kubernetes)
	a.Certificates = append(a.Certificates, extra.Certificates[0])
	record, err := newRecord("prod", "i-1", a, start)
	if err != nil {
		t.Fatal(err)
	}
	record = step(t, func() (*Record, error) { return record.begin(made(t, Kubernetes), start) })
	record = step(t, func() (*Record, error) { return record.promote(Guard{Force: true}, start) })
	record = step(t, func() (*Record, error) { return record.finish(Guard{Force: true}, start) })
	left, err := record.Authority()
	if err != nil || len(left.Certificates) != 2 || !left.Certificates[1].Equal(extra.Certificates[0]) {
		t.Errorf("left are %d certificates, error %v", len(left.Certificates), err)
	}
}

func TestGuards(t *testing.T) {
	plain := recordOf(t, Etcd)
	begun := step(t, func() (*Record, error) { return plain.begin(made(t, Etcd), start) })
	promoted := step(t, func() (*Record, error) { return begun.promote(guard, start.Add(time.Hour)) })
	force := Guard{Settle: time.Hour, Life: time.Hour, Force: true}
	later := start.Add(time.Hour - time.Second)
	for name, test := range map[string]struct {
		take func() (*Record, error)
		want string
		hint string
	}{
		"begin twice":       {func() (*Record, error) { return begun.begin(made(t, Etcd), start) }, "was begun at 2026-03-01T12:00:00Z", "promote or abort"},
		"begin promoted":    {func() (*Record, error) { return promoted.begin(made(t, Etcd), start) }, "was promoted", "the next step is finish"},
		"promote unbegun":   {func() (*Record, error) { return plain.promote(force, start) }, "no rotation is under way", "begin"},
		"promote twice":     {func() (*Record, error) { return promoted.promote(force, start) }, "was promoted", "finish"},
		"promote too early": {func() (*Record, error) { return begun.promote(guard, later) }, "too early by 1s", "at 2026-03-01T13:00:00Z; or give --force"},
		"promote by force":  {func() (*Record, error) { return begun.promote(force, start) }, "", ""},
		"promote in time":   {func() (*Record, error) { return begun.promote(guard, start.Add(time.Hour)) }, "", ""},
		"finish unpromoted": {func() (*Record, error) { return begun.finish(force, start) }, "was begun", "promote or abort"},
		"finish too early":  {func() (*Record, error) { return promoted.finish(guard, start.Add(30*24*time.Hour)) }, "too early by 1h0m0s", "at 2026-03-31T13:00:00Z"},
		"finish by force":   {func() (*Record, error) { return promoted.finish(force, start.Add(time.Hour)) }, "", ""},
		"abort unbegun":     {plain.abort, "no rotation is under way", "begin"},
		"abort promoted":    {promoted.abort, "was promoted", "finish"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := test.take()
			wantError(t, err, test.want)
			if test.want != "" {
				wantReason(t, err, status.ReasonPKIBlocked, test.hint)
			}
			if errors.Is(err, ErrTooEarly) != strings.Contains(test.want, "too early") {
				t.Errorf("too early: %v", err)
			}
		})
	}
}

// A step whose response was lost is taken once; one that meets a faster writer is decided anew.
func TestRotateOverABadNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := &scripted{memory: newMemory(), put: map[string][]error{}}
		vault := testVault(records)
		if _, err := vault.Private(t.Context(), Etcd); err != nil {
			t.Fatal(err)
		}
		records.put[PrivateKey(Etcd)] = []error{store.ErrConflict, store.ErrConflict}
		if _, err := vault.Rotate(t.Context(), Etcd, StepBegin, guard); err != nil {
			t.Fatal(err)
		}
		records.put[PrivateKey(Etcd)] = []error{&lostConflict{}}
		record, err := vault.Rotate(t.Context(), Etcd, StepPromote, Guard{Force: true})
		if err != nil || record.Rotation.Step != Promoted {
			t.Fatalf("%+v, error %v", record, err)
		}
		records.put[PrivateKey(Etcd)] = []error{errServer}
		_, err = vault.Rotate(t.Context(), Etcd, StepFinish, Guard{Force: true})
		wantReason(t, err, status.ReasonStoreUnreached, "")
		if n := count(records.puts, PrivateKey(Etcd)); n != 3 {
			t.Errorf("written %d times, want 3: created, begun, promoted", n)
		}
		if _, err := vault.Rotate(t.Context(), Etcd, "pause", guard); err == nil {
			t.Error("took a step that does not exist")
		}
		if _, err := vault.Rotate(t.Context(), FrontProxy, StepBegin, guard); !errors.Is(err, ErrAbsent) {
			t.Errorf("rotated what is not there: %v", err)
		}
	})
}

// lostConflict is what comes back when the SDK sends a write again that was carried out already.
type lostConflict struct{}

func (*lostConflict) Error() string        { return "412" }
func (*lostConflict) Is(target error) bool { return target == store.ErrConflict || target == errLost }

// Both generations have one subject: a chain must still be built to the one that signed.
func TestBothGenerationsVerify(t *testing.T) {
	record := recordOf(t, Kubernetes)
	fresh := made(t, Kubernetes)
	begun := step(t, func() (*Record, error) { return record.begin(fresh, start) })
	bundle, err := begun.Authority()
	if err != nil {
		t.Fatal(err)
	}
	old, err := record.Authority()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, certificate := range bundle.Certificates {
		roots.AddCert(certificate)
	}
	for _, signer := range []*Authority{old, fresh} {
		key, err := NewKey("ECDSA-P256")
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: old.Certificates[0].SerialNumber, NotBefore: start, NotAfter: start.Add(time.Hour),
			DNSNames: []string{"x"}}
		der, err := x509.CreateCertificate(nil, template, signer.Certificates[0], key.Public(), signer.Key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: start.Add(time.Minute)}); err != nil {
			t.Errorf("signed by %s: %v", signer.Fingerprint(), err)
		}
	}
}
