package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func readFile(t *testing.T, path string) *Status {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(data)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, data)
	}
	return s
}

// synctest.Wait does not wait for system calls, so a test that reads the file lets the board's pause pass first.
func settle() { time.Sleep(2 * writeInterval); synctest.Wait() }

func TestBoardKeepsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rekindle", "status.json")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b := NewBoard(path, "v1.2.3", nil)
		settle()
		s := readFile(t, path)
		if s.State != StateBooting || s.Reason != ReasonBooting || s.Agent.PID != os.Getpid() || s.Agent.Version != "v1.2.3" {
			t.Errorf("at first: %+v", s)
		}
		b.SetOnce()
		b.SetIdentity(masterID)
		b.SetSources(Source{"defaults", "rekindle"}, Source{"user-data", "imds"})
		b.SetUnits(Unit{Name: "kubelet.service", State: "activating"})
		b.SetUnit(Unit{Name: "kubelet.service", State: "active"})
		b.SetUnit(Unit{Name: "etcd", State: "active"})
		b.Applied("ab12", 1500*time.Millisecond, "/etc/hosts", "kubelet.service")
		b.SetAssets(Assets{Source: "s3://b/p", Verified: true, Objects: 12})
		time.Sleep(2*time.Second - time.Since(began))
		b.Ready()
		settle()
		want := &Status{
			Version: 1, State: StateReady, Reason: ReasonReady, Since: began.Add(2 * time.Second), Identity: masterID,
			Boot: Boot{Started: began, Ready: began.Add(2 * time.Second), Seconds: 2,
				Sources: []Source{{"defaults", "rekindle"}, {"user-data", "imds"}}},
			Waits: []Pending{}, Warnings: []Warning{}, Authorities: []Authority{}, Certificates: []Certificate{}, Etcd: []Etcd{},
			Assets: Assets{Source: "s3://b/p", Verified: true, Objects: 12},
			Apply: Apply{At: began.Add(2 * writeInterval), Seconds: 1.5, Changes: 2, Plan: "ab12",
				Changed: []string{"/etc/hosts", "kubelet.service"}},
			Units: []Unit{{Name: "kubelet.service", State: "active"}, {Name: "etcd", State: "active"}},
		}
		if diff := cmp.Diff(want, readFile(t, path), cmpopts.IgnoreFields(Status{}, "Agent"), cmpopts.EquateApproxTime(0)); diff != "" {
			t.Errorf("file (-want +got):\n%s", diff)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, path).Agent.Stopped; !got.Equal(time.Now()) {
			t.Errorf("stopped at %v", got)
		}
		if s, err := Read(path); err != nil || s.Stale != nil || s.ExitCode() != 0 {
			t.Errorf("an agent that was to run once left %+v, %v", s.Stale, err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestBoardStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
		defer b.Close()
		b.Booting("reading user-data")
		if s := b.Snapshot(); s.Message != "reading user-data" || !s.Since.Equal(s.Boot.Started) {
			t.Errorf("a stage of the same state moved its time: %+v", s)
		}
		time.Sleep(time.Second)
		b.Fail(fmt.Errorf("assets: %w", Fail(ReasonAssetCorrupt, "publish again", errors.New("sha256 mismatch"))))
		s := b.Snapshot()
		if s.State != StateFailed || s.Reason != ReasonAssetCorrupt || s.Message != "assets: sha256 mismatch" ||
			s.Hint != "publish again" || !s.Since.Equal(time.Now()) {
			t.Errorf("failed: %+v", s)
		}
		b.Degrade(context.DeadlineExceeded)
		if s := b.Snapshot(); s.State != StateDegraded || s.Reason != ReasonDeadline || s.Hint != ReasonDeadline.Hint() {
			t.Errorf("degraded: %+v", s)
		}
		b.Ready()
		first := b.Snapshot()
		time.Sleep(time.Second)
		b.Degrade(errors.New("x"))
		b.Ready()
		if s := b.Snapshot(); s.Hint != "" || s.Message != "" || !s.Boot.Ready.Equal(first.Boot.Ready) || s.Since.Equal(first.Since) {
			t.Errorf("ready again: %+v, first %+v", s, first)
		}
	})
}

// Who is told that the node is ready may read the file at once.
func TestBoardSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	b := NewBoard(path, "v1.2.3", nil)
	for range 20 { // the file is written ten times a second at most
		b.Fail(errors.New("not yet"))
		b.Ready()
		if err := b.Sync(); err != nil {
			t.Fatal(err)
		}
		if s := readFile(t, path); s.State != StateReady {
			t.Fatalf("the file says %s", s.State)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := (*Board)(nil).Sync(); err != nil {
		t.Fatal(err)
	}
}

func TestBoardWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
		defer b.Close()
		began := time.Now()
		b.Warn(ReasonInstanceType, "", "x9.huge")
		time.Sleep(time.Second)
		b.Warn(ReasonInstanceType, "", "x9.huge")
		b.Warn(ReasonUserDataLarge, "shrink it", "16000 of 16384 bytes")
		want := []Warning{
			{ReasonInstanceType, "x9.huge", ReasonInstanceType.Hint(), began},
			{ReasonUserDataLarge, "16000 of 16384 bytes", "shrink it", began.Add(time.Second)},
		}
		if diff := cmp.Diff(want, b.Snapshot().Warnings); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		b.Resolve(ReasonInstanceType)
		if got := b.Snapshot().Warnings; len(got) != 1 || got[0].Reason != ReasonUserDataLarge {
			t.Errorf("after Resolve: %v", got)
		}
	})
}

func TestBoardWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
		defer b.Close()
		ctx, cancel := context.WithTimeout(WithWaits(t.Context(), b), time.Minute)
		defer cancel()
		role := Waiting(ctx, "tags: role", "the tag rekindle:role")
		route := Waiting(WithWaits(t.Context(), b), "network", "a default route")
		now := time.Now()
		want := []Pending{
			{"tags: role", "the tag rekindle:role", "", now, now.Add(time.Minute)},
			{"network", "a default route", "", now, time.Time{}},
		}
		if diff := cmp.Diff(want, b.Snapshot().Waits); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		role()
		role()
		if got := b.Snapshot().Waits; len(got) != 1 || got[0].Name != "network" {
			t.Errorf("after the first ended: %v", got)
		}
		route()
		Waiting(t.Context(), "nobody listens", "")()
	})
}

// A board that changes all the time writes ten times a second, and what it wrote last is the last state.
func TestBoardCoalesces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(path, "v1", nil)
		inodes := map[time.Time]bool{}
		for i := range 1000 {
			b.Booting(fmt.Sprint("step ", i))
			time.Sleep(time.Millisecond)
			if data, err := os.ReadFile(path); err == nil {
				s, err := Parse(data)
				if err != nil {
					t.Fatal(err)
				}
				inodes[s.Agent.Heartbeat] = true
			}
		}
		if n := len(inodes); n < 5 || n > 11 {
			t.Errorf("%d writes in a second", n)
		}
		settle()
		if got := readFile(t, path).Message; got != "step 999" {
			t.Errorf("the file stayed at %q", got)
		}
		beat := readFile(t, path).Agent.Heartbeat
		time.Sleep(2 * HeartbeatInterval)
		settle()
		if now := readFile(t, path).Agent.Heartbeat; !now.After(beat) {
			t.Error("no heartbeat")
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(files) > 0 {
			t.Errorf("left behind: %v", files)
		}
	})
}

func TestBoardCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := NewBoard(filepath.Join(file, "status.json"), "v1", slog.New(slog.NewTextHandler(&out, nil)))
		for range 20 {
			b.Booting("x")
			settle()
		}
		if err := b.Close(); err == nil {
			t.Error("no error")
		}
		if n := strings.Count(out.String(), "not written"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, out.String())
		}
	})
}

func TestNilBoard(t *testing.T) {
	var b *Board
	b.Ready()
	b.Fail(errors.New("x"))
	b.Warn(ReasonDiskFull, "", "x")
	b.Begin(t.Context(), "a", "b")()
	b.SetAuthorities([]Authority{{}})
	b.SetCertificates([]Certificate{{}})
	b.SetWarnings(ReasonDiskFull, "", "x")
	b.JoinServing("x")
	b.Joined("Replayed", "x")
	b.JoinOff(errors.New("x"))
	if b.Snapshot() == nil || b.Close() != nil {
		t.Error("a nil board does something")
	}
}

func TestBoardConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	b := NewBoard(path, "v1", nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				end := b.Begin(t.Context(), fmt.Sprint("wait ", i), "x")
				b.SetUnit(Unit{Name: fmt.Sprint(i), State: "active"})
				b.Warn(ReasonDriftRepaired, "", fmt.Sprint(i))
				b.Booting("x")
				b.Joined("Replayed", fmt.Sprint(i))
				b.Snapshot()
				end()
			}
		})
	}
	wg.Wait()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if s := readFile(t, path); len(s.Units) != 8 || len(s.Warnings) != 8 || len(s.Waits) != 0 || s.Join.Refused["Replayed"] != 1600 {
		t.Errorf("%d units, %d warnings, %d waits, %v refused", len(s.Units), len(s.Warnings), len(s.Waits), s.Join.Refused)
	}
}

// The file can be read by everyone.
func TestNoSecretsInTheFile(t *testing.T) {
	const url = "https://user:hunter2@mirror/?X-Amz-Signature=hunter2"
	path := filepath.Join(t.TempDir(), "s.json")
	b := NewBoard(path, "v1", nil)
	tl := NewTimeline("boot", time.Now())
	_, span := Step(WithTimeline(t.Context(), tl), "manifest")
	span.Done(errors.New("get " + url))
	b.SetSources(Source{"store", url})
	b.SetAssets(Assets{Source: url, Mirrors: []string{url}})
	b.Warn(ReasonManifestStale, "", url)
	b.Fail(errors.New("get " + url))
	if err := errors.Join(b.Close(), tl.Save(path+".boot")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + ".boot"} {
		data, err := os.ReadFile(file)
		if err != nil || bytes.Contains(data, []byte("hunter2")) || !bytes.Contains(data, []byte("[redacted]@mirror")) {
			t.Errorf("%v, %s", err, data)
		}
	}
}

// Scripts index lists without testing for them.
func TestEmptyListsArePresent(t *testing.T) {
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
	defer b.Close()
	data, err := json.Marshal(b.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"waits":[]`, `"warnings":[]`, `"units":[]`, `"sources":[]`, `"authorities":[]`, `"certificates":[]`} {
		if !bytes.Contains(data, []byte(key)) {
			t.Errorf("no %s in %s", key, data)
		}
	}
	if bytes.Contains(data, []byte(`"apply"`)) || bytes.Contains(data, []byte(`"assets"`)) || bytes.Contains(data, []byte(`"join"`)) {
		t.Errorf("an object that is not known yet in %s", data)
	}
}
