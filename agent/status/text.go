package status

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

const changedInText = 8 // paths and units of the last apply that the table names

// Text writes the status as a person reads it. Colour is for terminals.
func (s *Status) Text(w io.Writer, color bool) error {
	_, err := w.Write(s.text(color, time.Now()))
	return err
}

// page is the text while it is written.
type page struct {
	bytes.Buffer
	color bool
	now   time.Time
}

func (s *Status) text(color bool, now time.Time) []byte {
	p := &page{color: color, now: now}
	s.headline(p)
	s.facts(p)
	p.section("WAITING FOR", len(s.Waits), func(w io.Writer) {
		for _, wait := range s.Waits {
			left := p.span(wait.Deadline.Sub(now)) + " left"
			switch {
			case wait.Deadline.IsZero():
				left = "no deadline"
			case wait.Deadline.Before(now):
				left = "overdue"
			}
			last := ""
			if wait.Last != "" {
				last = "last: " + oneLine(wait.Last)
			}
			fmt.Fprintf(w, "  %s\t%s\tfor %s\t%s\t%s\n", oneLine(wait.Name), oneLine(wait.For), p.age(wait.Since), left, last)
		}
	})
	if s.Discovery != nil {
		p.discovery(s.Discovery)
	}
	for i := range s.Etcd {
		p.etcd(&s.Etcd[i])
	}
	p.section("UNITS", len(s.Units), func(w io.Writer) {
		for _, unit := range s.Units {
			since := ""
			if !unit.Since.IsZero() {
				since = "for " + p.age(unit.Since)
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", p.unit(unit.State), oneLine(unit.Name), since, oneLine(unit.Message))
		}
	})
	if len(s.Warnings) > 0 {
		fmt.Fprintf(p, "\n%s\n", p.paint("1", "WARNINGS"))
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(p, "  %s: %s\n", p.paint("33", oneLine(string(warning.Reason))), oneLine(warning.Message))
		if warning.Hint != "" {
			fmt.Fprintf(p, "    what to do: %s\n", oneLine(warning.Hint))
		}
	}
	return p.Bytes()
}

func (s *Status) headline(p *page) {
	paint := map[State]string{StateReady: "1;32", StateBooting: "1;36", StateDegraded: "1;33", StateFailed: "1;31"}
	head := p.paint(paint[s.State], strings.ToUpper(oneLine(string(s.State)))) + "  " + who(s.Identity)
	if s.Stale != nil {
		head = p.paint("1;31", "STALE") + "  was " + oneLine(string(s.State)) + "  " + who(s.Identity)
	}
	fmt.Fprintf(p, "%s  since %s (%s)\n", head, clock(s.Since), p.age(s.Since))
	if s.Stale != nil {
		p.reason(s.Stale.Reason, s.Stale.Message, s.Stale.Hint)
	}
	if s.State != StateReady {
		p.reason(s.Reason, s.Message, s.Hint)
	}
}

func (p *page) reason(reason Reason, message, hint string) {
	line := "  " + oneLine(string(reason))
	if message != "" {
		line += ": " + oneLine(message)
	}
	fmt.Fprintln(p, line)
	if hint != "" {
		fmt.Fprintf(p, "  %s %s\n", p.paint("1", "what to do:"), oneLine(hint))
	}
}

// facts are the lines of one value each.
func (s *Status) facts(p *page) {
	fmt.Fprintln(p)
	p.table(func(w io.Writer) {
		line := func(name string, values ...string) {
			if values = slices.DeleteFunc(values, empty); len(values) > 0 {
				fmt.Fprintf(w, "  %s\t%s\n", name, oneLine(strings.Join(values, ", ")))
			}
		}
		id := s.Identity
		line("node", id.Node, id.Region, id.Partition)
		line("agent", "rekindle "+s.Agent.Version, s.Agent.state(), "started "+clock(s.Agent.Started))
		if s.Boot.Ready.IsZero() {
			line("boot", "began "+clock(s.Boot.Started), "not ready yet")
		} else {
			line("boot", "ready after "+Duration(time.Duration(s.Boot.Seconds*float64(time.Second))), "at "+clock(s.Boot.Ready))
		}
		for i, source := range s.Boot.Sources {
			name := ""
			if i == 0 {
				name = "config"
			}
			fmt.Fprintf(w, "  %s\t%s\n", name, oneLine(source.Layer+": "+source.From))
		}
		line("assets", s.Assets.words()...)
		for _, mirror := range s.Assets.Mirrors {
			fmt.Fprintf(w, "  \talso %s\n", oneLine(mirror))
		}
		line("applied", s.Apply.words()...)
		for _, changed := range s.Apply.Changed[:min(len(s.Apply.Changed), changedInText)] {
			fmt.Fprintf(w, "  \t%s\n", oneLine(changed))
		}
		if more := s.Apply.Changes - changedInText; more > 0 {
			fmt.Fprintf(w, "  \tand %d more\n", more)
		}
		for i, authority := range s.Authorities {
			name := ""
			if i == 0 {
				name = "authorities"
			}
			fmt.Fprintf(w, "  %s\t%s\n", name, oneLine(authority.words()))
		}
		line("certificates", certificateWords(s.Certificates, p)...)
		line("join server", s.Join.words(p)...)
	})
}

func (a Agent) state() string {
	if a.Stopped.IsZero() {
		return fmt.Sprintf("pid %d", a.PID)
	}
	if a.Once {
		return "ended " + clock(a.Stopped) + " as it was told to"
	}
	return "ended " + clock(a.Stopped)
}

func (a Assets) words() []string {
	if a.Source == "" {
		return nil
	}
	words := []string{a.Source}
	switch {
	case !a.Verified:
		words = append(words, "NOT VERIFIED")
	case a.Signed:
		words = append(words, "signed")
	default:
		words = append(words, "verified, not signed")
	}
	if a.Stale {
		words = append(words, "manifest from the cache")
	}
	return append(words, fmt.Sprintf("%d objects", a.Objects), Bytes(a.Bytes), Bytes(a.Fetched)+" fetched")
}

func (a Apply) words() []string {
	if a.At.IsZero() {
		return nil
	}
	took := Duration(time.Duration(a.Seconds * float64(time.Second)))
	return []string{clock(a.At), fmt.Sprintf("%s in %s", changes(a.Changes), took)}
}

func (p *page) section(title string, n int, rows func(io.Writer)) {
	if n > 0 {
		fmt.Fprintf(p, "\n%s\n", p.paint("1", title))
		p.table(rows)
	}
}

// table aligns columns.
func (p *page) table(rows func(io.Writer)) {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	rows(w)
	_ = w.Flush() // a bytes.Buffer does not fail
	for line := range bytes.Lines(out.Bytes()) {
		p.Write(append(bytes.TrimRight(line, " \n"), '\n'))
	}
}

func (p *page) unit(state string) string {
	paint := "33"
	switch state {
	case "active":
		paint = "32"
	case "failed":
		paint = "31"
	}
	return p.paint(paint, fmt.Sprintf("%-12s", oneLine(state))) // every cell has a code of one length: columns stay straight
}

func (p *page) age(since time.Time) string { return p.span(p.now.Sub(since)) }

// span is a duration to the second: more would be old before it is read.
func (p *page) span(d time.Duration) string {
	if d = d.Round(time.Second); d < time.Minute {
		return fmt.Sprintf("%d s", max(d, 0)/time.Second)
	}
	return Duration(d)
}

func (p *page) paint(code, s string) string {
	if !p.color || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func changes(n int) string {
	if n == 1 {
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}
