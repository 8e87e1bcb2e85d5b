package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// full is the cluster whose lines have the plain names, and for which the targets hold.
const full = 1000

// What is asked of a cluster of up to full nodes.
const (
	newMasterTarget = 5 * time.Second // until every node knows a new master
	idleTarget      = 3000            // bytes that an idle node sends and receives in a second
)

// check says which targets were missed.
func (s *sample) check() error {
	if s.nodes > full || s.stormOnly {
		return nil
	}
	var missed []error
	if last := s.newMaster[len(s.newMaster)-1]; last > newMasterTarget {
		missed = append(missed, fmt.Errorf("%d nodes: the last one knows a new master after %v, more than %v", s.nodes, last, newMasterTarget))
	}
	if s.idleBytes > idleTarget {
		missed = append(missed, fmt.Errorf("%d nodes: an idle one sends and receives %.0f B/s, more than %d", s.nodes, s.idleBytes, idleTarget))
	}
	return errors.Join(missed...)
}

// number is one line.
type number struct {
	name  string
	value float64
	unit  string
}

// numbers are those that were measured.
func (s *sample) numbers() []number {
	var all []number
	add := func(name string, value float64, unit string) { all = append(all, number{name, value, unit}) }
	times := func(sorted []time.Duration, name string, quantiles map[string]float64) {
		for _, q := range slices.Sorted(maps.Keys(quantiles)) {
			if len(sorted) > 0 {
				add("gossip_"+name+"_"+q+"_s", quantile(sorted, quantiles[q]), "s")
			}
		}
	}
	halves := map[string]float64{"p50": 0.5, "p99": 0.99}
	times(s.stormMasters, "storm_masters", halves)
	times(s.stormAll, "storm_all", halves)
	if s.stormy {
		add("gossip_storm_kb_per_node", s.stormBytes/1e3, "KB")
	}
	if s.stormOnly {
		return all
	}
	times(s.newMaster, "new_master", map[string]float64{"everywhere": 1, "p50": 0.5, "p99": 0.99})
	times(s.dead, "detect", halves)
	times(s.rebuilt, "rebuilt", map[string]float64{"everywhere": 1})
	add("gossip_idle_bytes_per_s", s.idleBytes, "B/s")
	add("gossip_idle_cpu_percent", s.idleCPU, "%")
	add("gossip_memory_kb_per_node", s.memory/1e3, "KB")
	return all
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
		before := map[string]float64{}
		for _, n := range small.numbers() {
			before[n.name] = n.value
		}
		for _, n := range large.numbers() {
			if was, both := before[n.name]; both {
				fmt.Fprintf(w, "%-36s %10.2f times\n", "growth_"+n.name, n.value/was)
			}
		}
	}
}

// quantile is in seconds.
func quantile(sorted []time.Duration, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Seconds()
}
