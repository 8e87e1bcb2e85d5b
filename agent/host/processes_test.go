package host

import (
	"context"
	"testing"
	"time"

	"rekindle/agent/apply"
)

func runner(t *testing.T, h *Host) *Processes {
	t.Helper()
	r, err := NewProcesses(h, nil, quick)
	check(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) // the test's own has ended
		defer cancel()
		if err := r.StopAll(ctx); err != nil {
			t.Error(err)
		}
		r.Close()
	})
	return r
}

func TestProcesses(t *testing.T) {
	testUnits(t, func(t *testing.T, h *Host) apply.Units { return runner(t, h) })
}
