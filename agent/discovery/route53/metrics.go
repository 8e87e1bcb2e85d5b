package route53

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	availableMetric = metric("available", "1 while Route 53 answers and takes writes, 0 otherwise.")
	stateMetric     = metric("state", "1 for the state that Route 53 is in, 0 for the others.", "state")
	requestsMetric  = metric("requests_total", "Requests to Route 53.", "action", "outcome")
	writesMetric    = metric("writes_total", "Batches that Route 53 applied.")
	conflictsMetric = metric("conflicts_total", "Batches that failed because the records were not what was read.")
	foreignMetric   = metric("foreign_records", "Names that are wanted and belong to somebody else.")
	heldMetric      = metric("held_addresses", "Addresses that stay because less than a majority of the masters is seen.")
	readMetric      = metric("last_read_timestamp_seconds", "When the records were last read.")
	writtenMetric   = metric("last_write_timestamp_seconds", "When they were last written.")
)

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rekindle_route53_"+name, help, labels, nil)
}

// metrics are the counters.
type metrics struct {
	mu                sync.Mutex
	requests          map[[2]string]int // by action and outcome
	writes, conflicts int
}

// count adds a request. Its outcome is "ok", "conflict" or the State that it means.
func (m *metrics) count(action string, err error) {
	outcome := string(stateOf(err))
	switch {
	case err == nil:
		outcome = "ok"
	case conflicting(err):
		outcome = "conflict"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.requests == nil {
		m.requests = map[[2]string]int{}
	}
	m.requests[[2]string{action, outcome}]++
}

func (m *metrics) written() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
}

func (m *metrics) conflicted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conflicts++
}

// Describe is part of prometheus.Collector.
func (k *Keeper) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		availableMetric, stateMetric, requestsMetric, writesMetric, conflictsMetric, foreignMetric, heldMetric, readMetric, writtenMetric,
	} {
		descriptions <- d
	}
}

// Collect is part of prometheus.Collector.
func (k *Keeper) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	s := k.Status()
	truth := map[bool]float64{true: 1}
	gauge(availableMetric, truth[s.State == Ready])
	for _, state := range []State{Unknown, Ready, Missing, Unfit, Denied, Throttled, Silent, Failing} {
		gauge(stateMetric, truth[s.State == state], string(state))
	}
	gauge(foreignMetric, float64(len(s.Foreign)))
	gauge(heldMetric, float64(len(s.Held)))
	for d, t := range map[*prometheus.Desc]time.Time{readMetric: s.LastRead, writtenMetric: s.LastWrite} {
		if !t.IsZero() {
			gauge(d, float64(t.Unix()))
		}
	}
	k.metrics.mu.Lock()
	defer k.metrics.mu.Unlock()
	counter(writesMetric, k.metrics.writes)
	counter(conflictsMetric, k.metrics.conflicts)
	for labels, n := range k.metrics.requests {
		counter(requestsMetric, n, labels[0], labels[1])
	}
}
