package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"rekindle/agent/join"
)

// full is the set of runs whose lines have the plain names.
const full = 2000

// report prints the lines of a set of runs: the median of each number, with its extremes.
func report(w io.Writer, nodes int, samples []sample) {
	suffix := ""
	if nodes != full {
		suffix = fmt.Sprintf("_%d", nodes)
	}
	line := func(name, unit string, of func(sample) float64) {
		var values []float64
		for _, s := range samples {
			values = append(values, of(s))
		}
		slices.Sort(values)
		fmt.Fprintf(w, "%-28s %9.2f %-8s min %.2f  max %.2f  runs %d\n", name+suffix, values[len(values)/2], unit,
			values[0], values[len(values)-1], len(values))
	}
	quantile := func(q float64) func(sample) float64 {
		return func(s sample) float64 { return ms(s.each[min(len(s.each)-1, int(q*float64(len(s.each))))]) }
	}
	line("join_per_second", "1/s", func(s sample) float64 { return float64(nodes) / s.took.Seconds() })
	line("join_peak_rss_mb", "MB", func(s sample) float64 { return float64(s.master.Peak) / 1e6 })
	line("join_p99_ms", "ms", quantile(0.99))
	line("join_p50_ms", "ms", quantile(0.5))
	line("join_max_ms", "ms", func(s sample) float64 { return ms(s.each[len(s.each)-1]) })
	line("join_master_cpu_ms_per_node", "ms", func(s sample) float64 { return ms(s.master.CPU) / float64(nodes) })
	line("join_busy_per_node", "answers", func(s sample) float64 { return float64(s.master.Answers[join.Busy]) / float64(nodes) })
	line("join_refused", "answers", func(s sample) float64 {
		refused := 0
		for reason, n := range s.master.Answers {
			if reason != join.Granted && reason != join.Busy {
				refused += n
			}
		}
		return float64(refused)
	})
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
