package status

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// fullMetrics have every metric.
func fullMetrics(t *testing.T) *Metrics {
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v0.1.0", nil)
	t.Cleanup(func() { _ = b.Close() })
	b.update(func(s *Status) { *s = *fullStatus() })
	m := NewMetrics(b, "Granted", "BadCSR", "Replayed", "WrongRole")
	b.Begin(t.Context(), "network", "a default route")
	m.Renewed(12, 1)
	m.Joined("Granted", "i-1", 40*time.Millisecond)
	m.JoinInFlight(func() int { return 1 })
	return m
}

func scrape(t *testing.T, m *Metrics, path string) (code int, body string) {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return answer.Code, answer.Body.String()
}

func TestMetricsGolden(t *testing.T) {
	code, body := scrape(t, fullMetrics(t), "/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, body)
	}
	golden(t, "metrics.txt", []byte(body))
}

func TestMetricsFollowConventions(t *testing.T) {
	_, body := scrape(t, fullMetrics(t), "/metrics")
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

// What is not known yet has no series: an alert on a time would take 0 for 1970.
func TestMetricsOfABoot(t *testing.T) {
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
	defer b.Close()
	b.SetCertificates([]Certificate{{Path: "/not/yet"}})
	_, body := scrape(t, NewMetrics(b, "Granted"), "/metrics")
	for _, name := range []string{"rekindle_boot_seconds", "rekindle_last_apply", "rekindle_apply_changes", "rekindle_join", "/not/yet"} {
		if strings.Contains(body, name) {
			t.Errorf("%s in:\n%s", name, body)
		}
	}
	if !strings.Contains(body, `rekindle_state{state="booting"} 1`) || !strings.Contains(body, `rekindle_certificate_renewals_total{result="failed"} 0`) {
		t.Errorf("it says:\n%s", body)
	}
}

// Every reason has its series before the first request came, and a refusal shows in the next scrape.
func TestMetricsCountJoins(t *testing.T) {
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
	defer b.Close()
	m := NewMetrics(b, "Granted", "Replayed", "Late")
	b.JoinServing(":3988")
	has := func(lines ...string) {
		t.Helper()
		_, body := scrape(t, m, "/metrics")
		for _, line := range lines {
			if !strings.Contains(body, line+"\n") {
				t.Errorf("no %q in:\n%s", line, body)
			}
		}
	}
	has(`rekindle_join_requests_total{reason="Granted"} 0`, `rekindle_join_requests_total{reason="Replayed"} 0`,
		`rekindle_join_requests_total{reason="Late"} 0`, `rekindle_join_seconds_count 0`)
	inFlight := 3
	m.JoinInFlight(func() int { return inFlight })
	has(`rekindle_join_in_flight 3`)
	inFlight = 0
	m.Joined("Replayed", "i-1", time.Second)
	m.Joined("Granted", "i-2", time.Second)
	has(`rekindle_join_in_flight 0`, `rekindle_join_seconds_sum 2`, `rekindle_join_requests_total{reason="Granted"} 1`,
		`rekindle_join_requests_total{reason="Replayed"} 1`, `rekindle_join_seconds_count 2`)
}

// Whatever a name holds, a scrape works.
func TestMetricsOfOddNames(t *testing.T) {
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1\xff", nil)
	defer b.Close()
	b.SetUnits(Unit{Name: "a\xffb", State: "active"}, Unit{Name: "twice\n\"", State: "active"}, Unit{Name: "twice\n\"", State: "failed"})
	b.SetAuthorities([]Authority{{Name: "\xfe", NotAfter: bootStart}, {Name: "\xfe", NotAfter: bootStart}})
	m := NewMetrics(b)
	if _, err := m.registry.Gather(); err != nil {
		t.Error(err)
	}
	code, body := scrape(t, m, "/metrics")
	for _, want := range []string{`{unit="a?b"} 1`, `{unit="twice\n\""} 1`, `{authority="?"}`, `version="v1?"`} {
		if code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, no %s in:\n%s", code, want, body)
		}
	}
}

func TestHealth(t *testing.T) {
	m := fullMetrics(t)
	if code, body := scrape(t, m, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
	m.Alive = func() error { return errors.New("a loop is stuck") }
	if code, body := scrape(t, m, "/healthz"); code != http.StatusServiceUnavailable || body != "a loop is stuck\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := scrape(t, m, "/debug/pprof"); code != http.StatusNotFound {
		t.Errorf("something else is served: %d", code)
	}
}

// An agent that does not even answer is not alive.
func TestHealthOfAStuckAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fullMetrics(t)
		release := make(chan struct{})
		defer close(release)
		m.Alive = func() error { <-release; return nil }
		start := time.Now()
		code, body := scrape(t, m, "/healthz")
		if took := time.Since(start); code != http.StatusServiceUnavailable || took != healthTimeout || body != "the agent is stuck\n" {
			t.Errorf("%d %q after %s", code, body, took)
		}
	})
}

func TestServeMetrics(t *testing.T) {
	m := fullMetrics(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()

	// The port is taken.
	err = m.Serve(t.Context(), address, slog.New(slog.DiscardHandler))
	if reason, _ := ReasonOf(err); reason != ReasonMetricsOff || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "metrics.listen") {
		t.Errorf("a taken port: %v", err)
	}
	if !warned(m.board) {
		t.Error("a taken port is no warning")
	}
	listener.Close()

	said, log := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- m.Serve(ctx, "127.0.0.1:0", slog.New(slog.NewTextHandler(log, nil))) }()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	said.Close() // it has said where
	_, address, _ = strings.Cut(strings.TrimSpace(line), "listen=")
	client := &http.Client{Transport: new(http.Transport), Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for path, want := range map[string]string{"/healthz": "ok", "/metrics": "rekindle_state{"} {
		if body := get(t, client, "http://"+address+path); !strings.Contains(body, want) {
			t.Errorf("%s: %s", path, body)
		}
	}
	if warned(m.board) {
		t.Error("it is served, and the warning stays")
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("told to stop: %v", err)
	}
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

func TestServeNothing(t *testing.T) {
	m := fullMetrics(t)
	if err := m.Serve(t.Context(), MetricsOff, slog.New(slog.DiscardHandler)); err != nil || warned(m.board) {
		t.Errorf("off: %v", err)
	}
	var none *Metrics
	none.Joined("Granted", "i-1", time.Second)
	none.JoinInFlight(nil)
	none.Renewed(1, 1)
	if err := none.Serve(t.Context(), "nonsense", nil); err != nil {
		t.Error(err)
	}
}

func TestMetricsConcurrently(t *testing.T) {
	m := fullMetrics(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				m.Renewed(1, 0)
				m.Joined("Replayed", "i-1", time.Second)
				m.JoinInFlight(func() int { return 2 })
				if code, body := scrape(t, m, "/metrics"); code != http.StatusOK && code != http.StatusServiceUnavailable {
					t.Errorf("%d: %s", code, body)
				}
			}
		})
	}
	all.Wait()
	if _, body := scrape(t, m, "/metrics"); !regexp.MustCompile(`(?m)^rekindle_join_requests_total\{reason="Replayed"\} 402$`).MatchString(body) {
		t.Error(body)
	}
}

func warned(b *Board) bool {
	for _, w := range b.Snapshot().Warnings {
		if w.Reason == ReasonMetricsOff {
			return true
		}
	}
	return false
}

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, answer.Status, err)
	}
	return string(body)
}
