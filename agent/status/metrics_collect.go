package status

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Describe is part of prometheus.Collector. It sends nothing: which metrics there are depends on the board.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect is part of prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	s := m.board.Snapshot()
	out := sample{to: to, sent: map[string]bool{}}
	m.node(out, s)
	m.identity(out, s)
	m.etcd(out, s)
	m.discovery(out, s)
	m.renewals.Collect(to)
	if s.Join == nil {
		return
	}
	m.joinSeconds.Collect(to)
	if count := m.joinInFlight.Load(); count != nil {
		out.gauge(inFlightMetric, float64((*count)()))
	}
	out.counter(joinMetric, s.Join.Granted, joinGranted)
	for reason, n := range s.Join.Refused {
		out.counter(joinMetric, n, reason)
	}
	for _, reason := range m.joinReasons {
		out.counter(joinMetric, 0, reason)
	}
}

func (m *Metrics) node(out sample, s *Status) {
	out.gauge(infoMetric, 1, s.Agent.Version, s.Identity.Cluster, s.Identity.Role, s.Identity.Instance)
	for _, state := range []State{StateBooting, StateReady, StateDegraded, StateFailed} {
		out.gauge(stateMetric, truth(s.State == state), string(state))
	}
	out.gauge(reasonMetric, 1, string(s.Reason))
	if !s.Boot.Ready.IsZero() {
		out.gauge(bootMetric, s.Boot.Seconds)
	}
	if !s.Apply.At.IsZero() {
		out.gauge(applyTimeMetric, timestamp(s.Apply.At))
		out.gauge(applyChangesMetric, float64(s.Apply.Changes))
	}
	out.gauge(waitsMetric, float64(len(s.Waits)))
	warnings := map[Reason]int{}
	for _, warning := range s.Warnings {
		warnings[warning.Reason]++
	}
	for reason, n := range warnings {
		out.gauge(warningsMetric, float64(n), string(reason))
	}
	for _, unit := range s.Units {
		out.gauge(unitMetric, truth(unit.State == "active" || unit.State == "reloading"), unit.Name)
	}
}

func (m *Metrics) identity(out sample, s *Status) {
	for _, c := range s.Certificates {
		if c.NotAfter.IsZero() {
			continue // not issued yet
		}
		out.gauge(certExpiryMetric, timestamp(c.NotAfter), c.Path)
		out.gauge(certRenewMetric, timestamp(c.RenewAfter), c.Path)
	}
	for _, authority := range s.Authorities {
		if !authority.NotAfter.IsZero() {
			out.gauge(authorityMetric, timestamp(authority.NotAfter), authority.Name)
		}
	}
}

// sample sends one scrape's values. One that comes twice would spoil the whole scrape, so the first counts.
type sample struct {
	to   chan<- prometheus.Metric
	sent map[string]bool
}

func (s sample) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	s.send(desc, prometheus.GaugeValue, value, labels)
}

func (s sample) counter(desc *prometheus.Desc, value int, labels ...string) {
	s.send(desc, prometheus.CounterValue, float64(value), labels)
}

func (s sample) send(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "?") // MustNewConstMetric panics on anything else
	}
	if key := desc.String() + strings.Join(labels, "\xff"); !s.sent[key] {
		s.sent[key] = true
		s.to <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// timestamp is t in seconds since 1970, to the millisecond.
func timestamp(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
