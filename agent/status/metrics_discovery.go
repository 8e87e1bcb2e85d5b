package status

// How the others are found, as the board knows it. Gossip, the API proxy and Route 53 tell more, in their own packages.
var (
	discoveryModeMetric    = metric("discovery_mode", "How nodes are found; always 1, and only the present mode is there.", "mode")
	discoveryNodesMetric   = metric("discovery_nodes", "Nodes that are known to live, this one among them.")
	discoveryMastersMetric = metric("discovery_masters", "Of these, nodes with an API server.")
	discoverySinceMetric   = metric("discovery_last_change_timestamp_seconds", "When that last changed.")
)

func (m *Metrics) discovery(out sample, s *Status) {
	d := s.Discovery
	if d == nil {
		return
	}
	out.gauge(discoveryModeMetric, 1, d.Mode)
	out.gauge(discoveryNodesMetric, float64(d.Nodes))
	out.gauge(discoveryMastersMetric, float64(d.Masters))
	if !d.Since.IsZero() {
		out.gauge(discoverySinceMetric, timestamp(d.Since))
	}
}
