package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// The targets; a number above is missed.
const (
	targetUnits = 300 // ms
	targetRSS   = 64  // MB
	targetEC2   = 0   // requests of a minion whose tags are in IMDS
)

// report prints the lines of a role.
func report(w io.Writer, role string, samples []sample) {
	line(w, "boot_to_units_ms_"+role, "ms", targetUnits, column(samples, func(s sample) float64 {
		return float64(s.toUnits.Microseconds()) / 1000
	}))
	if role == "master" {
		line(w, "boot_etcd_start_ms_"+role, "ms", -1, column(samples, func(s sample) float64 {
			return float64(s.etcd.Microseconds()) / 1000
		}))
		line(w, "boot_to_units_less_etcd_ms_"+role, "ms", targetUnits, column(samples, func(s sample) float64 {
			return float64((s.toUnits - s.etcd).Microseconds()) / 1000
		}))
	}
	services := map[string]bool{"imds": true, "ec2": true, "s3": true}
	for _, s := range samples {
		for service := range s.requests {
			services[service] = true
		}
	}
	for _, service := range slices.Sorted(maps.Keys(services)) {
		target := -1
		if service == "ec2" && role == "minion" {
			target = targetEC2
		}
		line(w, "boot_http_requests_"+service+"_"+role, "requests", target, column(samples, func(s sample) float64 {
			return float64(s.requests[service])
		}))
	}
	line(w, "boot_peak_rss_mb_"+role, "MB", targetRSS, column(samples, func(s sample) float64 { return float64(s.rss) / 1e6 }))
}

func column(samples []sample, of func(sample) float64) []float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values
}

// line prints the median of sorted values. A negative target is none.
func line(w io.Writer, name, unit string, target int, values []float64) {
	median := values[len(values)/2]
	fmt.Fprintf(w, "%-34s %6.0f %-8s  min %.0f  max %.0f  runs %d\n", name, median, unit, values[0], values[len(values)-1], len(values))
	if target >= 0 && median > float64(target) {
		fmt.Fprintf(w, "TARGET MISSED %s: %.0f %s, at most %d wanted\n", name, median, unit, target)
	}
}
