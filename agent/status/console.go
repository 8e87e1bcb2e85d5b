package status

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

const (
	consoleLimit   = 500 // bytes of a line with its line break; longer ones are hard to read in `get-console-output`
	hintLimit      = 240
	consoleTimeout = time.Second // a serial line at 9600 baud takes half of it
)

// Console is where the one line at the end of a boot goes: the machine's console, which
// `aws ec2 get-console-output` shows when nothing else can be reached, and the terminal of whoever ran the verb.
type Console struct {
	Path string    // "" is /dev/console
	Also io.Writer // standard error, or nil where that is the journal, which has the line already
}

// ConsoleReady is the line of a boot that succeeded: who is ready, after what time, and what the time went to: the first level of tl, which may be nil.
func ConsoleReady(s *Status, tl *Timeline) string {
	took := time.Duration(s.Boot.Seconds * float64(time.Second))
	line := "rekindle: READY " + who(s.Identity) + " in " + Duration(took)
	if tl == nil {
		return bound(line, consoleLimit-1)
	}
	steps := slices.Clone(tl.Snapshot().Root.Steps)
	steps = slices.DeleteFunc(steps, func(s *Span) bool { return s.End.IsZero() })
	for len(steps) > 0 {
		var parts []string
		shortest := 0
		for i, step := range steps {
			part := oneLine(step.Name) + " " + Duration(step.End.Sub(step.Start))
			if n := step.Total(); n >= 1<<20 {
				part += " (" + Bytes(n) + ")"
			}
			parts = append(parts, part)
			if step.End.Sub(step.Start) < steps[shortest].End.Sub(steps[shortest].Start) {
				shortest = i
			}
		}
		if full := line + ": " + strings.Join(parts, ", "); len(full) < consoleLimit {
			return full
		}
		steps = slices.Delete(steps, shortest, shortest+1)
	}
	return bound(line, consoleLimit-1)
}

// ConsoleFailed is the line of a boot that failed after took: why, and what to do. Of a long error the middle is left
// out, of the remedy nothing.
func ConsoleFailed(s *Status, took time.Duration) string {
	head := fmt.Sprintf("rekindle: FAILED %s after %s: ", oneLine(string(s.Reason)), Duration(took))
	tail := ""
	if s.Hint != "" {
		tail = ". What to do: " + bound(oneLine(s.Hint), hintLimit)
	}
	message := strings.TrimRight(oneLine(s.Message), ".")
	for n := utf8.RuneCountInString(message); len(head+message+tail) > consoleLimit-1 && n > 4; n-- {
		message = shorten(message, n, "...")
	}
	if message == "" {
		head = strings.TrimSuffix(head, ": ")
	}
	return bound(head+message+tail, consoleLimit-1)
}

// who is the node as a headline names it.
func who(id Identity) string {
	name := strings.Join(slices.DeleteFunc([]string{id.Role, id.Instance}, empty), " ")
	place := strings.Join(slices.DeleteFunc([]string{id.Cluster, id.Zone}, empty), ", ")
	if name == "" {
		name = "node"
	}
	if place != "" {
		name += " (" + place + ")"
	}
	return oneLine(name)
}

// bound cuts s to at most limit bytes, between two characters.
func bound(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	s = s[:limit-3]
	for len(s) > 0 {
		if r, size := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || size > 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + "..."
}

// Write writes one line to both. It never waits for the console longer than consoleTimeout: one whose other end does
// not read (flow control, a paused machine) must not hold a boot up. A machine without a console is no error.
func (c Console) Write(line []byte) (int, error) {
	var also error
	if c.Also != nil {
		_, also = c.Also.Write(line)
	}
	if err := errors.Join(also, c.device(line)); err != nil {
		return 0, fmt.Errorf("console: %w", err)
	}
	return len(line), nil
}

func (c Console) device(line []byte) error {
	path := c.Path
	if path == "" {
		path = "/dev/console"
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENODEV):
		return nil // no console
	case err != nil:
		return err
	}
	defer f.Close()
	if err := f.SetWriteDeadline(time.Now().Add(consoleTimeout)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		return err
	}
	_, err = f.Write(line)
	return err
}
