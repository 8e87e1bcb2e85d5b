package status

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what the agent tells Prometheus. What the board knows is read from it at every scrape; only what nobody
// else keeps is counted here. Its methods are safe for concurrent use and do nothing on a nil Metrics.
//
// To add a metric, add it to the list below, send it in Collect, and explain it in docs/metrics.md: a test fails until all
// three agree.
type Metrics struct {
	// Alive is what /healthz asks, as the watchdog does. Nil: whether the board answers.
	Alive func() error

	board       *Board
	joinReasons []string
	registry    *prometheus.Registry

	joinSeconds  prometheus.Histogram
	joinInFlight atomic.Pointer[func() int]
	renewals     *prometheus.CounterVec
}

// What the board knows, and how it is told. Labels are few by nature: paths, units and authorities are those of one
// node's plan, and reasons are constants.
var (
	infoMetric         = metric("info", "Who the node is; always 1.", "version", "cluster", "role", "instance")
	stateMetric        = metric("state", "1 for the state that the node is in, 0 for the others.", "state")
	reasonMetric       = metric("reason", "What the node's state comes from; always 1.", "reason")
	bootMetric         = metric("boot_seconds", "How long the boot took, once the node was ready.")
	applyTimeMetric    = metric("last_apply_timestamp_seconds", "When a plan was last applied.")
	applyChangesMetric = metric("apply_changes", "How many things the last apply changed.")
	waitsMetric        = metric("waits", "How many things the agent waits for.")
	warningsMetric     = metric("warnings", "How many warnings have this reason.", "reason")
	unitMetric         = metric("unit_active", "1 while the unit is active, 0 otherwise.", "unit")
	certExpiryMetric   = metric("certificate_expiry_timestamp_seconds", "When the certificate expires.", "path")
	certRenewMetric    = metric("certificate_renew_timestamp_seconds", "From when on the certificate is replaced.", "path")
	authorityMetric    = metric("authority_expiry_timestamp_seconds", "When the authority expires.", "authority")
	joinMetric         = metric("join_requests_total", "Requests to the join server, by the reason of the answer.", "reason")
	inFlightMetric     = metric("join_in_flight", "Requests that the join server is at.")
)

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rekindle_"+name, help, labels, nil)
}

// The values of the label result of rekindle_certificate_renewals_total.
const (
	renewed    = "renewed"
	notRenewed = "failed"
)

// joinBuckets are seconds: a join asks STS and EC2, and waits for its turn when a thousand nodes come at once.
var joinBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// NewMetrics tells what board knows. JoinReasons are those with which the join server answers: each has its series from
// the moment on that a master serves joins, so that the first refusal is a rise from 0 and not a beginning.
//
//	metrics := status.NewMetrics(board, reasons...)
//	group.Go(func() error { return metrics.Serve(ctx, config.Metrics.Listen, logger) })
func NewMetrics(board *Board, joinReasons ...string) *Metrics {
	m := &Metrics{
		board:       board,
		joinReasons: joinReasons,
		registry:    prometheus.NewRegistry(),
		joinSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "rekindle_join_seconds",
			Help: "How long requests to the join server took.", Buckets: joinBuckets}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rekindle_certificate_renewals_total",
			Help: "Attempts to renew a certificate, by their result."}, []string{"result"}),
	}
	m.renewals.WithLabelValues(renewed)
	m.renewals.WithLabelValues(notRenewed)
	m.registry.MustRegister(m)
	return m
}

// Registry is where other packages register metrics of their own; nil without metrics.
func (m *Metrics) Registry() prometheus.Registerer {
	if m == nil {
		return nil
	}
	return m.registry
}

// Joined counts a request to the join server that was answered; the board hears of it, too. Instance is which the node
// said to be, as far as it said so.
func (m *Metrics) Joined(reason, instance string, took time.Duration) {
	if m == nil {
		return
	}
	m.joinSeconds.Observe(took.Seconds())
	m.board.Joined(reason, instance)
}

// JoinInFlight says who knows how many requests the join server is at: count is called at every scrape.
func (m *Metrics) JoinInFlight(count func() int) {
	if m != nil && count != nil {
		m.joinInFlight.Store(&count)
	}
}

// Renewed counts certificates that were due: those that were replaced, and those for which that failed.
func (m *Metrics) Renewed(replaced, failed int) {
	if m == nil {
		return
	}
	m.renewals.WithLabelValues(renewed).Add(float64(replaced))
	m.renewals.WithLabelValues(notRenewed).Add(float64(failed))
}
