package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Targets are in the comments. The limits are so far from them that no busy machine explains it: the run fails.
var (
	atMost = map[string]float64{
		"failover_reset_ms_p99":      3000, // 1000
		"failover_blackhole_ms_p99":  6000, // 3000
		"proxy_added_latency_us_p50": 1000, // 100
		"proxy_cpu_seconds_per_gib":  1.5,  // 0.12 was measured
		"proxy_leak_descriptors":     50,   // 0
		"proxy_leak_goroutines":      50,   // 0
		"proxy_leak_mb":              64,
	}
	atLeast = map[string]float64{
		"proxy_throughput_ratio": 0.1, // 0.8
	}
)

// report prints numbers, and keeps those that are beyond their limit.
type report struct {
	w      io.Writer
	missed error
}

func (r *report) line(name string, value float64, unit, more string) {
	fmt.Fprintf(r.w, "%-32s %9.3f %-6s %s\n", name, value, unit, more)
	if most, is := atMost[name]; is && value > most {
		r.missed = errors.Join(r.missed, fmt.Errorf("%s: %.3f, and more than %v is a fault", name, value, most))
	}
	if least, is := atLeast[name]; is && value < least {
		r.missed = errors.Join(r.missed, fmt.Errorf("%s: %.3f, and less than %v is a fault", name, value, least))
	}
}

// clientGoPause is how long client-go waits before it repeats a GET whose connection broke (rest/with_retry.go).
const clientGoPause = time.Second

func (r *report) failover(name string, all []request) {
	if len(all) == 0 {
		return
	}
	quantile := func(q float64, of func(request) time.Duration) float64 {
		var each []time.Duration
		for _, one := range all {
			each = append(each, of(one))
		}
		slices.Sort(each)
		return float64(each[min(len(each)-1, int(q*float64(len(each))))].Microseconds()) / 1000
	}
	took := func(one request) time.Duration { return one.took }
	r.line(name+"_ms_p99", quantile(0.99, took), "ms", fmt.Sprintf("p50 %.2f  max %.2f  requests %d",
		quantile(0.5, took), quantile(1, took), len(all)))
	r.line(name+"_client_go_ms_p99", quantile(0.99, func(one request) time.Duration {
		return one.took + time.Duration(one.again)*clientGoPause
	}), "ms", "")
}
