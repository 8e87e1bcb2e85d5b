package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/node"
)

// during shows a step while it lasts: its name and what look says at the moment; and then what came of it. Off a terminal it
// tells each kind of thing that look says once, its numbers aside.
func (s *screen) during(name string, look func() string, do func() (result string, err error)) error {
	start, quit := time.Now(), make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		told := map[string]bool{"": true}
		for {
			s.moment(name, look(), time.Since(start), told)
			select {
			case <-quit:
				return
			case <-time.After(refresh):
			}
		}
	})
	result, err := do()
	close(quit)
	showing.Wait()
	if s.terminal {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
	if err != nil {
		s.line("  %s", s.paint(red, fmt.Sprintf("%-10s failed", name)))
		return fmt.Errorf("%s: %w", name, err)
	}
	s.line("  %-10s %s  %s", name, result, s.paint(faint, duration(time.Since(start))))
	return nil
}

func (s *screen) moment(name, now string, since time.Duration, told map[string]bool) {
	if s.terminal {
		text := []rune(fmt.Sprintf("  %-10s %s", name, now))
		took := fmt.Sprintf("  %.1fs", since.Seconds())
		fmt.Fprintf(s.w, "\r\x1b[K%s%s", string(text[:min(len(text), max(s.width-len(took)-1, 0))]), s.paint(faint, took))
		return
	}
	kind := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, now)
	if !told[kind] {
		told[kind] = true
		s.line("  %-10s %s", "", now)
	}
}

// telling is what the most interesting of some nodes is at: one that waits for etcd before one that waits for something else.
func (s *screen) telling(nodes []*node.Node) string {
	best, said := 0, ""
	for _, n := range nodes {
		now, err := n.Status()
		if err != nil {
			continue
		}
		rank, text := waits(now)
		if rank == plain && !s.terminal { // who reads it later wants to know of etcd
			text = string(now.State)
		}
		if rank > best {
			best, said = rank, n.ID+" "+text
		}
	}
	return said
}

// How much a wait says of what the scenes are about.
const (
	done  = iota // there is none
	state        // the node boots
	plain        // a wait
	whole        // the whole of a node's share in etcd
	one          // a part of it
	restoring
)

// waits is what a node waits for, and how much that says.
func waits(now *status.Status) (rank int, text string) {
	if now.State == status.StateReady {
		return done, "is ready"
	}
	rank, text = state, string(now.State)
	for _, w := range now.Waits {
		r := plain
		switch {
		case strings.HasSuffix(w.Name, ": restore"):
			r = restoring
		case strings.HasSuffix(w.Name, ": prepare"), strings.HasSuffix(w.Name, ": data"), strings.HasPrefix(w.Name, "join: "):
			r = whole
		case strings.HasPrefix(w.Name, "etcd "):
			r = one
		}
		if r < rank {
			continue
		}
		rank, text = r, "waits: "+w.Name
		if last := w.Last; last != "" {
			text += ", " + firstLine(last)
		} else if w.For != "" {
			text += ", " + w.For
		}
	}
	return rank, text
}
