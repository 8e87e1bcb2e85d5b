package join

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{}.withDefaults())
		loud, quiet := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		for range 10 {
			wantRefusal(t, "burst", g.visit(loud, time.Now()), Granted)
		}
		wantRefusal(t, "eleventh", g.visit(loud, time.Now()), Busy)
		wantRefusal(t, "another address", g.visit(quiet, time.Now()), Granted)
		time.Sleep(time.Second)
		wantRefusal(t, "a second later", g.visit(loud, time.Now()), Granted)
		wantRefusal(t, "and again", g.visit(loud, time.Now()), Busy)
		time.Sleep(time.Hour)
		for range 10 {
			wantRefusal(t, "an hour later", g.visit(loud, time.Now()), Granted)
		}
		wantRefusal(t, "no more than the burst", g.visit(loud, time.Now()), Busy)
	})
}

// TestManyAddresses: their number is bounded, and a loud one is not forgotten for quiet ones.
func TestManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{Addresses: 100}.withDefaults())
		loud := netip.MustParseAddr("10.0.0.1")
		for range 10 {
			wantRefusal(t, "burst", g.visit(loud, time.Now()), Granted)
		}
		address := netip.MustParseAddr("2001:db8::")
		for range 5000 {
			address = address.Next()
			wantRefusal(t, "new", g.visit(address, time.Now()), Granted)
		}
		wantRefusal(t, "the loud one", g.visit(loud, time.Now()), Busy)
		if len(g.visitors) > 100 {
			t.Errorf("%d addresses are remembered", len(g.visitors))
		}
	})
}

// TestQueue: so many are verified at once, so many wait, and the others are told when to come back.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaster(t, func(o *ServerOptions) {
			o.Limits = Limits{Verifications: 2, Queue: 3, Burst: 100}
		})
		m.authority = makeAuthority(time.Now())
		now, most := 0, 0
		var mu sync.Mutex
		release := make(chan struct{})
		m.lookups.ask = func(ctx context.Context, ids []string) (map[string]Instance, error) {
			<-release
			return m.describe(ctx, ids)
		}
		m.sts.answer = func(*http.Request) *reply {
			mu.Lock()
			defer mu.Unlock()
			now++
			most = max(most, now)
			return nil
		}
		var wg sync.WaitGroup
		answers := make(chan *httptest.ResponseRecorder, 8)
		for range 5 {
			x := m.exchange(t)
			wg.Go(func() { answers <- x.send(t) })
		}
		synctest.Wait()
		if most != 2 || m.InFlight() != 5 {
			t.Errorf("%d verifications, %d inside", most, m.InFlight())
		}
		x := m.exchange(t)
		w := x.send(t)
		x.want(t, w, Busy)
		if seconds, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || seconds < 1 || seconds > 10 {
			t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
		}
		close(release)
		wg.Wait()
		close(answers)
		for w := range answers {
			x.want(t, w, Granted)
		}
		if m.InFlight() != 0 || len(m.gate.slots) != 0 {
			t.Errorf("%d inside, %d slots taken", m.InFlight(), len(m.gate.slots))
		}
	})
}

// TestSlowSTS: nobody waits longer than the deadline, in the queue or for STS.
func TestSlowSTS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaster(t, func(o *ServerOptions) {
			o.Limits = Limits{Verifications: 1, Burst: 100, Deadline: 5 * time.Second}
			o.HTTP = &http.Client{Transport: blackHole{}}
		})
		var wg sync.WaitGroup
		began := time.Now()
		first, second := m.exchange(t), m.exchange(t)
		wg.Go(func() { first.want(t, first.send(t), Unavailable) })
		synctest.Wait()
		second.before = func(r *http.Request) { // a node that waits less
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			t.Cleanup(cancel)
			*r = *r.WithContext(ctx)
		}
		second.want(t, second.send(t), Busy)
		if took := time.Since(began); took != time.Second {
			t.Errorf("the second took %s", took)
		}
		wg.Wait()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the first took %s", took)
		}
	})
}

type blackHole struct{}

func (blackHole) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestRetryAfter(t *testing.T) {
	g := newGate(Limits{}.withDefaults())
	bounds := func(low, high int) {
		t.Helper()
		seen := map[int]bool{}
		for range 1000 {
			seconds := g.retryAfter()
			seen[seconds] = true
			if seconds < low || seconds > high {
				t.Fatalf("%d s", seconds)
			}
		}
		if len(seen) < (high-low)/2 {
			t.Errorf("only %d different answers", len(seen))
		}
	}
	bounds(1, 3)
	g.inside = 600 // at 100 a second
	bounds(6, 9)
	g.pace.rate = 1
	bounds(10, 15)
	if most := time.Duration(15) * time.Second; most > maxRetryAfter {
		t.Errorf("nodes believe no more than %s, and would come back together", maxRetryAfter)
	}
}

// TestPace: what counts is how many requests get through while others wait, not how long one takes, nor how many ask.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{Verifications: 10}.withDefaults())
		serve := func(each time.Duration, inside, batches int) {
			g.inside = inside
			for range batches {
				var all []func()
				for range 10 {
					done, err := g.turn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, done)
				}
				time.Sleep(each)
				for _, done := range all {
					done()
				}
			}
		}
		near := func(want float64) {
			t.Helper()
			if math.Abs(g.pace.rate-want) > want/10 {
				t.Errorf("%.1f a second, want %.1f", g.pace.rate, want)
			}
		}
		serve(50*time.Millisecond, 100, 200)
		near(200)
		serve(10*time.Second, 100, 20)
		near(1)
		serve(25*time.Millisecond, 100, 400)
		near(400)
		serve(time.Minute, 10, 10) // nobody waits
		near(400)
	})
}

// TestLongWaits: nobody is let in to wait for longer than a request may take, but as many as can be verified always are.
func TestLongWaits(t *testing.T) {
	g := newGate(Limits{Verifications: 20, Queue: 1000}.withDefaults())
	enter := func() (n int) {
		for g.inside = 0; ; n++ {
			if _, err := g.enter(); err != nil {
				wantRefusal(t, "the next", err, Busy)
				return n
			}
		}
	}
	for rate, want := range map[float64]int{minPace: 21, 10: 151, 500: 1020} {
		g.pace.rate = rate
		if got := enter(); got != want {
			t.Errorf("at %.0f a second %d are let in, want %d", rate, got, want)
		}
	}
}

// TestBusyLog: a flood is one line a second, with the number of those left out.
func TestBusyLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaster(t)
		for range 1000 {
			m.tell(Busy, errors.New("flood"), &attempt{})
		}
		time.Sleep(time.Second)
		m.tell(Busy, errors.New("flood"), &attempt{})
		if lines := m.lines(); len(lines) != 2 || !strings.Contains(lines[1], "more=999") {
			t.Errorf("%d lines: %q", len(lines), lines)
		}
	})
}

func TestNonceEndpointIsLimited(t *testing.T) {
	m := newMaster(t)
	get := func() *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, NoncePath, nil)
		return m.serve(r)
	}
	for range 10 {
		if w := get(); w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
	}
	if w := get(); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
