package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen is where the lab tells what it does: with colours and a live table on a terminal, in plain lines elsewhere.
type screen struct {
	w        io.Writer
	terminal bool
	width    int
}

func newScreen(f *os.File) *screen {
	s := &screen{w: f, width: 120}
	if term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		s.terminal = true
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			s.width = width
		}
	}
	return s
}

// The colours of a terminal.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s *screen) paint(code, text string) string {
	if !s.terminal || os.Getenv("NO_COLOR") != "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) line(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

func (s *screen) title(f flags) {
	dns := "no Route 53"
	if f.route53 {
		dns = "with Route 53"
	}
	s.line("%s", s.paint(bold, "rekindle lab: "+f.region+", "+dns+", no root, no network"))
	s.line("")
}

// step announces something that takes a moment; the returned function says what came of it.
func (s *screen) step(name string) func(result string) {
	start := time.Now()
	if s.terminal {
		fmt.Fprintf(s.w, "  %-10s", name)
	}
	return func(result string) {
		if s.terminal {
			fmt.Fprint(s.w, "\r\x1b[K")
		}
		s.line("  %-10s%s  %s", name, result, s.paint(faint, duration(time.Since(start))))
	}
}

func (s *screen) section(name string) {
	s.line("")
	s.line("%s", s.paint(bold, name))
}

// check tells the result of one.
func (s *screen) check(name, saw string, took time.Duration, err error) {
	mark, code := "✓", green
	if err != nil {
		mark, code = "✗", red
	}
	if err != nil {
		saw = s.paint(red, "failed")
	}
	if took >= 100*time.Millisecond {
		saw += "  " + s.paint(faint, duration(took))
	}
	s.line("  %s %-10s %s", s.paint(code, mark), name, saw)
	for _, e := range split(err) {
		s.line("    %-10s %s", "", s.paint(red, strings.ReplaceAll(e.Error(), "\n", "\n               ")))
	}
}

// split takes joined errors apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, split(e)...)
		}
		return all
	}
	return []error{err}
}

// places says where the user finds what there is to look at.
func (s *screen) places(dir string, timelines []string, took time.Duration) {
	s.line("")
	s.line("%-11s%s", "trees", relative(filepath.Join(dir, "nodes", "*", "root")))
	s.line("%-11s%s", "logs", relative(filepath.Join(dir, "nodes", "*", "agent.log")))
	for i, path := range timelines {
		label := ""
		if i == 0 {
			label = "timelines"
		}
		s.line("%-11s%s", label, relative(path))
	}
	s.line("%-11s%s", "took", duration(took))
}

// origin is the working directory at the start: the S3 server changes it.
var origin, _ = os.Getwd() //nolint:errcheck // paths stay absolute then

// relative shortens a path for people.
func relative(path string) string {
	if short, err := filepath.Rel(origin, path); err == nil && len(short) < len(path) {
		return short
	}
	return path
}

func duration(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
