package status

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBoardIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(path, "v1", nil)
		want := fullStatus()
		authorities, certificates := slices.Clone(want.Authorities), slices.Clone(want.Certificates)
		b.SetAuthorities(authorities)
		b.SetCertificates(certificates)
		authorities[0].Name, certificates[0].Path = "changed", "changed" // the caller's own
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		s := readFile(t, path)
		if diff := cmp.Diff(want.Authorities, s.Authorities); diff != "" {
			t.Errorf("authorities (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want.Certificates, s.Certificates); diff != "" {
			t.Errorf("certificates (-want +got):\n%s", diff)
		}
	})
}

func TestBoardJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
		defer b.Close()
		b.JoinServing("[::]:3988")
		b.Joined("Granted", "i-1")
		b.Joined("Replayed", "i-2")
		before := b.Snapshot()
		time.Sleep(time.Second)
		b.Joined("Replayed", "i-3")
		b.Joined("BadCSR", "\x1b[2J"+strings.Repeat("i", 1<<10))
		b.Joined("Granted", "i-5")
		want := &JoinServer{Listen: "[::]:3988", Granted: 2, Refused: map[string]int{"Replayed": 2, "BadCSR": 1},
			Last: Refusal{"BadCSR", "[2J" + strings.Repeat("i", instanceShown-6) + "...", time.Now()}}
		if diff := cmp.Diff(want, b.Snapshot().Join); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if before.Join.Granted != 1 || before.Join.Refused["Replayed"] != 1 {
			t.Errorf("a snapshot changed: %+v", before.Join)
		}

		b.JoinOff(Fail(ReasonApplyFailed, "free the port", errors.New("listen: address already in use")))
		s := b.Snapshot()
		if s.Join.Listen != "" || s.Join.Granted != 2 || len(s.Warnings) != 1 || s.Warnings[0].Reason != ReasonJoinOff ||
			s.Warnings[0].Hint != "free the port" || s.Warnings[0].Message != "listen: address already in use" {
			t.Errorf("off: %+v, %+v", s.Join, s.Warnings)
		}
		since := s.Warnings[0].Since
		time.Sleep(time.Second)
		b.JoinOff(errors.New("listen: address already in use"))
		if w := b.Snapshot().Warnings; len(w) != 1 || !w[0].Since.Equal(since) {
			t.Errorf("the same again: %+v", w)
		}
		b.JoinOff(errors.New("no certificate"))
		if w := b.Snapshot().Warnings; len(w) != 1 || w[0].Message != "no certificate" || w[0].Hint != ReasonJoinOff.Hint() {
			t.Errorf("another reason: %+v", w)
		}
		b.JoinServing(":3988")
		if s := b.Snapshot(); s.Join.Listen != ":3988" || len(s.Warnings) != 0 {
			t.Errorf("serving again: %+v, %+v", s.Join, s.Warnings)
		}
		b.JoinOff(errors.New("x"))
		b.JoinOff(nil)
		if s := b.Snapshot(); s.Join != nil || len(s.Warnings) != 0 {
			t.Errorf("no master any more: %+v, %+v", s.Join, s.Warnings)
		}
	})
}

// "refused" is an object from the first moment on, for scripts that index it.
func TestJoinWithoutRefusals(t *testing.T) {
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
	defer b.Close()
	b.JoinServing(":3988")
	data, err := json.Marshal(b.Snapshot().Join)
	if want := `{"listen":":3988","granted":0,"refused":{}}`; err != nil || string(data) != want {
		t.Errorf("%s, %v", data, err)
	}
}

func TestBoardSetWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
		defer b.Close()
		began := time.Now()
		b.Warn(ReasonDriftRepaired, "", "/etc/hosts")
		b.SetWarnings(ReasonCertificate, "", "apiserver: no turn", "peer: https://user:hunter2@kms/ says no")
		time.Sleep(time.Minute)
		b.SetWarnings(ReasonCertificate, "", "peer: https://user:hunter2@kms/ says no", "front-proxy: no turn")
		want := []Warning{
			{ReasonDriftRepaired, "/etc/hosts", ReasonDriftRepaired.Hint(), began},
			{ReasonCertificate, "peer: https://user:[redacted]@kms/ says no", ReasonCertificate.Hint(), began},
			{ReasonCertificate, "front-proxy: no turn", ReasonCertificate.Hint(), began.Add(time.Minute)},
		}
		if diff := cmp.Diff(want, b.Snapshot().Warnings); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		b.SetWarnings(ReasonCertificate, "") // all were renewed
		if w := b.Snapshot().Warnings; len(w) != 1 || w[0].Reason != ReasonDriftRepaired {
			t.Errorf("renewed: %+v", w)
		}
	})
}
