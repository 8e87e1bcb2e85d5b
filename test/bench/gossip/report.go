package main

import (
	"fmt"
	"io"
	"time"
)

// full is the cluster whose lines have the plain names, and for which the targets hold.
const full = 1000

// number is one line.
type number struct {
	name  string
	value float64
	unit  string
}

func (s *sample) numbers() []number {
	return []number{
		{"gossip_storm_masters_p50_s", quantile(s.stormMasters, 0.5), "s"},
		{"gossip_storm_masters_p99_s", quantile(s.stormMasters, 0.99), "s"},
		{"gossip_storm_all_p50_s", quantile(s.stormAll, 0.5), "s"},
		{"gossip_storm_all_p99_s", quantile(s.stormAll, 0.99), "s"},
		{"gossip_storm_kb_per_node", s.stormBytes / 1e3, "KB"},
		{"gossip_new_master_p50_s", quantile(s.newMaster, 0.5), "s"},
		{"gossip_new_master_p99_s", quantile(s.newMaster, 0.99), "s"},
		{"gossip_new_master_everywhere_s", quantile(s.newMaster, 1), "s"},
		{"gossip_detect_p50_s", quantile(s.dead, 0.5), "s"},
		{"gossip_detect_p99_s", quantile(s.dead, 0.99), "s"},
		{"gossip_rebuilt_everywhere_s", quantile(s.rebuilt, 1), "s"},
		{"gossip_idle_bytes_per_s", s.idleBytes, "B/s"},
		{"gossip_idle_cpu_percent", s.idleCPU, "%"},
		{"gossip_memory_kb_per_node", s.memory / 1e3, "KB"},
	}
}

// report prints what was measured of a cluster.
func report(w io.Writer, s *sample) {
	suffix := ""
	if s.nodes != full {
		suffix = fmt.Sprintf("_%d", s.nodes)
	}
	for _, n := range s.numbers() {
		fmt.Fprintf(w, "%-36s %10.3f %s\n", n.name+suffix, n.value, n.unit)
	}
}

// growth prints by how much each number is larger than in the cluster before.
func growth(w io.Writer, samples []*sample) {
	for i := 1; i < len(samples); i++ {
		small, large := samples[i-1], samples[i]
		fmt.Fprintf(w, "# from %d to %d nodes (%.1f times as many):\n", small.nodes, large.nodes,
			float64(large.nodes)/float64(small.nodes))
		before := small.numbers()
		for j, n := range large.numbers() {
			fmt.Fprintf(w, "%-36s %10.2f times\n", "growth_"+n.name, n.value/before[j].value)
		}
	}
}

// quantile is in seconds; 0 of what was not measured yet.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Seconds()
}
