package main

import (
	"fmt"
	"io"
	"slices"
)

// report prints a line for each number.
func report(w io.Writer, samples []sample) error {
	names := []string{total, launch, toRestore, restoring}
	for _, part := range parts {
		names = append(names, partName(part))
	}
	for _, name := range append(names, toUnit, starting) {
		if err := line(w, name, "s", samples, func(s sample) float64 { return s.spans[name].Seconds() }); err != nil {
			return err
		}
	}
	return line(w, "rebuild_database_mib", "MiB", samples, func(s sample) float64 { return float64(s.database) / (1 << 20) })
}

// line prints the median with its extremes.
func line(w io.Writer, name, unit string, samples []sample, of func(sample) float64) error {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	_, err := fmt.Fprintf(w, "%-34s %8.3f %-4s  min %.3f  max %.3f  runs %d\n",
		name, values[len(values)/2], unit, values[0], values[len(values)-1], len(values))
	return err
}
