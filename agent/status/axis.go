package status

import (
	"fmt"
	"strconv"
	"time"
)

// tick is one mark on the time axis.
type tick struct {
	at    time.Duration
	label string
}

// tickSteps are distances that a reader counts in without thinking.
var tickSteps = []time.Duration{
	time.Microsecond, 2 * time.Microsecond, 5 * time.Microsecond,
	10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// ticks are at most limit marks besides zero, all in one unit.
func ticks(total time.Duration, limit int) []tick {
	step := tickSteps[len(tickSteps)-1]
	for _, s := range tickSteps {
		if total/s <= time.Duration(limit) {
			step = s
			break
		}
	}
	for total/step > time.Duration(limit) {
		step *= 2
	}
	unit, name := time.Millisecond, "ms"
	switch {
	case step >= time.Hour:
		unit, name = time.Hour, "h"
	case step >= time.Minute:
		unit, name = time.Minute, "min"
	case total >= time.Second && step >= 10*time.Millisecond:
		unit, name = time.Second, "s"
	}
	marks := []tick{{0, "0"}}
	for i := range total / step { // counted, because a sum of steps could overflow
		at := (i + 1) * step
		value := strconv.FormatFloat(float64(at)/float64(unit), 'f', -1, 64)
		marks = append(marks, tick{at, fmt.Sprintf("%s %s", value, name)})
	}
	return marks
}
