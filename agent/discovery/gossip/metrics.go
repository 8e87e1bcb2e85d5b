package gossip

import (
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rekindle/agent/discovery"
)

// What gossip tells Prometheus. To add a metric: here, in Describe and Collect, and in docs/metrics.md.
var (
	membersMetric  = metric("members", "Nodes by their state; dead and left ones for 10 minutes.", "state")
	changesMetric  = metric("changes_total", "What was heard of nodes: join, update, leave, or conflict: two claim an instance.", "event")
	refusedMetric  = metric("refused_total", "Packets, connections and nodes that were ignored, by reason.", "reason")
	joinsMetric    = metric("joins_total", "Attempts to join at an address, by how it was found and their result.", "through", "result")
	bytesMetric    = metric("bytes_total", "Bytes of packets and connections, without the headers of the network.", "direction")
	healthMetric   = metric("lateness", "How late this node is with its probes: 0 is fine, 8 the worst. Late nodes suspect others wrongly.")
	throughs       = []string{"disk", "seeds", "tags", "static", "gossip"}
	reportInterval = time.Minute // between two lines of the log about what was refused for the same reason
)

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rekindle_gossip_"+name, help, labels, nil)
}

// counts is what only gossip counts. It implements prometheus.Collector.
type counts struct {
	gossip *Gossip

	mu       sync.Mutex
	refused  map[string]uint64
	reported map[string]time.Time
	joins    map[[2]string]uint64
}

func newCounts(g *Gossip) *counts {
	c := &counts{gossip: g, refused: map[string]uint64{}, reported: map[string]time.Time{}, joins: map[[2]string]uint64{}}
	for _, reason := range refusedReasons {
		c.refused[reason] = 0
	}
	return c
}

// refuse counts something that was ignored, and says so once a minute.
func (c *counts) refuse(reason string, from net.Addr) {
	c.mu.Lock()
	c.refused[reason]++
	total := c.refused[reason]
	last, before := c.reported[reason]
	report := !before || time.Since(last) > reportInterval
	if report {
		c.reported[reason] = time.Now()
	}
	c.mu.Unlock()
	if report {
		c.gossip.log.Warn("gossip: refused", "reason", reason, "from", from, "total", total)
	}
}

func (c *counts) joined(through string, answered bool) {
	result := "failed"
	if answered {
		result = "answered"
	}
	known := "other"
	for _, t := range throughs {
		if t == through {
			known = t
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joins[[2]string{known, result}]++
}

// register returns what takes the metrics back.
func (c *counts) register(r prometheus.Registerer) (func(), error) {
	if r == nil {
		return func() {}, nil
	}
	if err := r.Register(c); err != nil {
		return nil, err
	}
	return func() { r.Unregister(c) }, nil
}

// Describe implements prometheus.Collector.
func (c *counts) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		membersMetric, changesMetric, refusedMetric, joinsMetric, bytesMetric, healthMetric,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *counts) Collect(to chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	g := c.gossip
	states := g.members.count()
	for _, state := range []discovery.State{discovery.Alive, discovery.Suspect, discovery.Dead, discovery.Left} {
		send(membersMetric, prometheus.GaugeValue, float64(states[state]), string(state))
	}
	for event, n := range g.members.happened() {
		send(changesMetric, prometheus.CounterValue, float64(n), event)
	}
	send(bytesMetric, prometheus.CounterValue, float64(g.guard.sent.Load()), "sent")
	send(bytesMetric, prometheus.CounterValue, float64(g.guard.received.Load()), "received")
	send(healthMetric, prometheus.GaugeValue, float64(g.list.GetHealthScore()))
	c.mu.Lock()
	defer c.mu.Unlock()
	for reason, n := range c.refused {
		send(refusedMetric, prometheus.CounterValue, float64(n), reason)
	}
	for by, n := range c.joins {
		send(joinsMetric, prometheus.CounterValue, float64(n), by[0], by[1])
	}
}

// happened are how often each event did.
func (m *members) happened() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := map[string]uint64{"join": 0, "update": 0, "leave": 0, "conflict": 0}
	for event, times := range m.events {
		n[event] = times
	}
	return n
}
