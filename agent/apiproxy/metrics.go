package apiproxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Reasons of failures: of rekindle_apiproxy_failures_total.
const (
	failAccept    = "accept"       // a client's connection could not be taken
	failRefused   = "dial_refused" // by the backend
	failTimeout   = "dial_timeout"
	failDial      = "dial_other"
	failLocal     = "dial_local" // this machine has no descriptor, port or memory left
	failNoBackend = "no_backend" // no backend took a client's connection in time
	failLost      = "lost"       // the backend's side of a connection broke
	failDown      = "down"       // a connection was reset as its backend is down
)

// metrics are the proxy's. What is by backend is told from the proxy's own record, so what is forgotten goes.
type metrics struct {
	proxy          *Proxy
	failures       *prometheus.CounterVec
	bytes          *prometheus.CounterVec
	sent, received prometheus.Counter
	drained        prometheus.Counter
	dial           prometheus.Histogram
}

var (
	openMetric  = metric("connections_open", "Connections that are carried now, by the backend's instance.", "backend")
	totalMetric = metric("connections_total", "Connections that were carried, by the backend's instance.", "backend")
	stateMetric = metric("backend_state", "1 for the state that the checks found the backend in, 0 for the others.", "backend", "state")
)

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rekindle_apiproxy_"+name, help, labels, nil)
}

func newMetrics(p *Proxy) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rekindle_apiproxy_" + name, Help: help}, labels)
	}
	m := &metrics{
		proxy:    p,
		failures: counter("failures_total", "What went wrong, by reason.", "reason"),
		bytes:    counter("bytes_total", "Bytes that were forwarded: sent to backends, received from them.", "direction"),
		drained: prometheus.NewCounter(prometheus.CounterOpts{Name: "rekindle_apiproxy_drained_total",
			Help: "Connections that were closed to move them from a backend that leaves or is not ready."}),
		dial: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "rekindle_apiproxy_dial_seconds",
			Help: "How long backends took to accept a connection.", Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .1, .25, 1, 2}}),
	}
	m.sent, m.received = m.bytes.WithLabelValues("sent"), m.bytes.WithLabelValues("received")
	for _, reason := range []string{
		failAccept, failRefused, failTimeout, failDial, failLocal, failNoBackend, failLost, failDown,
	} {
		m.failures.WithLabelValues(reason) // so that the first is a rise from 0
	}
	return m
}

func (m *metrics) failed(reason string) { m.failures.WithLabelValues(reason).Inc() }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{openMetric, totalMetric, stateMetric} {
		to <- d
	}
	for _, c := range m.counted() {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range m.counted() {
		c.Collect(to)
	}
	seen := map[string]bool{} // one series each, even if an instance is there under two addresses
	for _, b := range m.proxy.Status().Backends {
		if seen[b.Instance] {
			continue
		}
		seen[b.Instance] = true
		to <- prometheus.MustNewConstMetric(openMetric, prometheus.GaugeValue, float64(b.Open), b.Instance)
		to <- prometheus.MustNewConstMetric(totalMetric, prometheus.CounterValue, float64(b.Total), b.Instance)
		for _, s := range []State{Unknown, Up, Unready, Down} {
			is := 0.0
			if s == b.State {
				is = 1
			}
			to <- prometheus.MustNewConstMetric(stateMetric, prometheus.GaugeValue, is, b.Instance, string(s))
		}
	}
}

func (m *metrics) counted() []prometheus.Collector {
	return []prometheus.Collector{m.failures, m.bytes, m.drained, m.dial}
}
