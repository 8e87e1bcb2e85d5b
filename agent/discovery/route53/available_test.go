package route53

import (
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestUnavailableAndBack(t *testing.T) {
	for name, tt := range map[string]struct {
		action string
		err    error
		want   State
	}{
		"denied":                   {"ListResourceRecordSets", apiError("AccessDenied"), Denied},
		"denied to write":          {"ChangeResourceRecordSets", apiError("AccessDenied"), Denied},
		"foreign credentials":      {"GetHostedZone", apiError("InvalidClientTokenId"), Denied},
		"throttled":                {"ListResourceRecordSets", apiError("Throttling"), Throttled},
		"a change not done yet":    {"ChangeResourceRecordSets", apiError("PriorRequestNotComplete"), Throttled},
		"silent":                   {"GetHostedZone", errSilent, Silent},
		"silent to writes":         {"ChangeResourceRecordSets", errSilent, Silent},
		"reset":                    {"ListResourceRecordSets", &net.OpError{Op: "read", Err: errors.New("connection reset")}, Silent},
		"no such host":             {"GetHostedZone", &net.DNSError{Err: "no such host", Name: "route53.cloud.hidden", IsNotFound: true}, Missing},
		"failing":                  {"ListResourceRecordSets", apiError("InternalFailure"), Failing},
		"the zone was deleted":     {"ListResourceRecordSets", apiError("NoSuchHostedZone"), Missing},
		"a batch that never works": {"ChangeResourceRecordSets", apiError("InvalidChangeBatch"), Failing},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				var broken atomic.Bool
				broken.Store(true)
				m.fault = func(action string) error {
					if broken.Load() && action == tt.action {
						return tt.err
					}
					return nil
				}
				k := run(t, m, nil)
				update(t, k, view(apiName, "1"))
				time.Sleep(time.Hour)
				synctest.Wait()
				s := k.Status()
				if s.State != tt.want || s.Error == "" {
					t.Errorf("%+v", s.Availability)
				}
				if n := m.count(tt.action); n < 12 || n > 40 {
					t.Errorf("%d attempts within an hour", n)
				}
				if wait := time.Until(s.NextTry); wait > mostBackoff {
					t.Errorf("the next try is in %s", wait)
				}
				broken.Store(false)
				time.Sleep(mostBackoff + time.Minute)
				if s := k.Status(); s.State != Ready || s.Error != "" || s.Hint != "" {
					t.Errorf("%+v", s.Availability)
				}
				wantAPI(t, m, "1")
			})
		})
	}
}

// A read that works says nothing about writing.
func TestProbeDoesNotHideThatWritesAreDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.fault = func(action string) error {
			if action == "ChangeResourceRecordSets" {
				return apiError("AccessDenied")
			}
			return nil
		}
		k := run(t, m, nil)
		if a, err := k.Probe(t.Context()); err != nil || a.State != Ready {
			t.Errorf("%+v, %v", a, err)
		}
		update(t, k, view(apiName, "1"))
		time.Sleep(10 * time.Second)
		if a, err := k.Probe(t.Context()); err != nil || a.State != Denied || a.Error == "" {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// The answer is lost, but the batch was applied.
func TestLostAnswerIsUnderstood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		lost := 0
		m.fault = func(action string) error {
			if action == "applied" {
				lost++
				return &net.OpError{Op: "read", Err: errors.New("connection reset")}
			}
			return nil
		}
		k := run(t, m, nil)
		update(t, k, view(apiName, "1", "2"))
		time.Sleep(time.Minute)
		wantAPI(t, m, "1", "2")
		if s := k.Status(); lost != 1 || s.State != Ready {
			t.Errorf("%d batches, %+v", lost, s)
		}
	})
}

func TestForeignRecordShowsAndIsTakenUpOnceItGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(record(apiName, "A", "10.9.9.9"))
		k := run(t, m, nil)
		update(t, k, view(apiName, "1"))
		time.Sleep(time.Hour)
		wantAPI(t, m, "10.9.9.9")
		if s := k.Status(); len(s.Foreign) != 1 || !strings.Contains(s.Foreign[0], "no marker") || s.State != Ready {
			t.Errorf("%+v", s)
		}
		m.mu.Lock()
		m.records = nil
		m.mu.Unlock()
		time.Sleep(2 * driftEvery)
		wantAPI(t, m, "1")
		if s := k.Status(); len(s.Foreign) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestRequestsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		k := run(t, m, nil)
		start := time.Now()
		for n := range 30 {
			if err := k.Sync(t.Context(), view(apiName, "1", string(rune('2'+n%2)))); err != nil {
				t.Fatal(err)
			}
		}
		n, took := m.count(""), time.Since(start)
		if most := paceBurst + int(took/paceEvery); n > most {
			t.Errorf("%d requests in %s, at most %d were due", n, took, most)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		k := run(t, m, nil)
		update(t, k, view(apiName, "1"))
		time.Sleep(30 * time.Second)
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(k)
		w := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		body := w.Body.String()
		problems, err := promlint.New(strings.NewReader(body)).Lint()
		if err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
		for _, want := range []string{
			"available 1", `state{state="ready"} 1`, `state{state="denied"} 0`, "writes_total 1", "conflicts_total 0", "foreign_records 0",
			`requests_total{action="ChangeResourceRecordSets",outcome="ok"} 1`, `requests_total{action="GetHostedZone",outcome="ok"} 1`,
			`requests_total{action="ListResourceRecordSets",outcome="ok"} 2`,
		} {
			if !strings.Contains(body, "\nrekindle_route53_"+want+"\n") {
				t.Errorf("no %s in\n%s", want, body)
			}
		}
	})
}
