package join

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// admission lets rate requests a second through, and a second's worth at once.
type admission struct {
	mu    sync.Mutex
	rate  float64
	left  float64
	since time.Time
}

func (a *admission) admit() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.left, a.since = min(a.rate, a.left+a.rate*now.Sub(a.since).Seconds()), now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// TestClientMassStart: many nodes that start at the same moment at one master neither hammer it nor wait for ever.
func TestClientMassStart(t *testing.T) {
	const nodes, rate = 120, 3
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		gate := &admission{rate: rate, left: rate, since: time.Now()}
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused {
			if gate.admit() {
				return nil
			}
			r := no(Busy)
			r.after = time.Second
			return r
		}})
		var all sync.WaitGroup
		began := time.Now()
		for n := range nodes {
			all.Go(func() {
				client := *s.client
				client.Instance, client.Logger = fmt.Sprintf("i-%d", n), nil
				if _, err := client.Join(t.Context(), s.authority.Certificates, s.requests); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		took, joins := time.Since(began), m.joins.Load()
		t.Logf("%d nodes at %d/s: the last after %v, %d requests", nodes, rate, took, joins)
		if ideal := nodes / rate * time.Second; took > 2*ideal+2*lastBusyPause {
			t.Errorf("the last node had its certificates after %v", took)
		}
		if joins > 10*nodes {
			t.Errorf("%d requests for %d nodes", joins, nodes)
		}
	})
}

// TestClientMassPauses is the same for 2,000 nodes and the pauses alone.
func TestClientMassPauses(t *testing.T) {
	const nodes, rate = 2000, 50
	synctest.Test(t, func(t *testing.T) {
		gate := &admission{rate: rate, left: rate, since: time.Now()}
		asked, worst := atomic.Int32{}, atomic.Int32{} // requests; of one second
		second := map[int]int32{}
		var mu sync.Mutex
		began := time.Now()
		var all sync.WaitGroup
		for range nodes {
			all.Go(func() {
				k := &seeker{}
				r := no(Busy)
				r.after = time.Second
				for {
					asked.Add(1)
					mu.Lock()
					n := int(time.Since(began) / time.Second)
					second[n]++
					if n > 0 && second[n] > worst.Load() {
						worst.Store(second[n])
					}
					mu.Unlock()
					if gate.admit() {
						return
					}
					time.Sleep(k.pause(r))
				}
			})
		}
		all.Wait()
		took := time.Since(began)
		t.Logf("%d nodes at %d/s: the last after %v, %d requests, after the first second at most %d/s", nodes, rate, took, asked.Load(), worst.Load())
		if took > 2*nodes/rate*time.Second || asked.Load() > 8*nodes || worst.Load() > nodes {
			t.Error("too long, or too many requests")
		}
	})
}
