package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"
)

// WaitLimit is how long Wait waits when its context has no deadline.
const WaitLimit = 15 * time.Minute

// pollInterval is short for a person and long for a machine. Polling and not inotify: the directory may not exist yet,
// and a killed agent writes nothing that a watch could see.
const pollInterval = 200 * time.Millisecond

// Wait reads the file at path until its agent says ready or failed, or until the deadline of ctx. It returns what it
// read last, which is nil if there never was a file, and an error that says what the node was waiting for.
//
// An agent that is not running is waited for: systemd starts it again.
func Wait(ctx context.Context, path string) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, WaitLimit)
	defer cancel()
	defer Waiting(ctx, "status: ready or failed", path)()
	for {
		s, err := Read(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && (s.State == StateFailed || s.ExitCode() == 0) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, notYet(ctx.Err(), s, err)
		case <-time.After(pollInterval*3/4 + rand.N(pollInterval/2)):
		}
	}
}

func notYet(ended error, s *Status, read error) error {
	switch {
	case read != nil:
		return fmt.Errorf("wait for ready: %w: %w", ended, read)
	case s.Stale != nil:
		return fmt.Errorf("wait for ready: %w: %s (%s)", ended, s.Stale.Message, s.Stale.Hint)
	case len(s.Waits) > 0:
		wait := s.Waits[0]
		last := ""
		if wait.Last != "" {
			last = "; last: " + wait.Last
		}
		return fmt.Errorf("wait for ready: %w: still %s, waiting for %s: %s%s", ended, s.State, wait.Name, wait.For, last)
	case s.Message != "":
		return fmt.Errorf("wait for ready: %w: still %s: %s", ended, s.State, s.Message)
	}
	return fmt.Errorf("wait for ready: %w: still %s", ended, s.State)
}
