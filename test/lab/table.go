package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// refresh is how often the table looks at the instances.
const refresh = 50 * time.Millisecond

// table shows the instances while they boot.
type table struct {
	*screen
	region *region.Region
	lines  int               // on the terminal, to go back over
	told   map[string]string // elsewhere: the last line about each instance
	quit   chan struct{}
	done   sync.WaitGroup
}

// row is one instance of the table.
type row struct {
	id, role, address, state, doing, fetched, took string
}

func (s *screen) table(r *region.Region) *table {
	t := &table{screen: s, region: r, told: map[string]string{}, quit: make(chan struct{})}
	s.line("")
	s.line("%s", s.paint(bold, t.format(row{"INSTANCE", "ROLE", "ADDRESS", "STATE", "DOING", "FETCHED", "TIME"})))
	t.done.Go(func() {
		for {
			t.show()
			select {
			case <-t.quit:
				t.show()
				return
			case <-time.After(refresh):
			}
		}
	})
	return t
}

func (t *table) stop() {
	close(t.quit)
	t.done.Wait()
}

func (t *table) show() {
	var rows []row
	for _, n := range t.region.Nodes() {
		rows = append(rows, t.row(n))
	}
	if !t.terminal {
		for _, r := range rows {
			// Without its time: a line for each change, not for each look.
			if now := r.state + r.doing; t.told[r.id] != now {
				t.told[r.id] = now
				t.line("%s", t.format(r))
			}
		}
		return
	}
	if t.lines > 0 {
		fmt.Fprintf(t.w, "\x1b[%dA", t.lines)
	}
	for _, r := range rows {
		fmt.Fprintf(t.w, "\r\x1b[K%s\n", t.colour(r))
	}
	t.lines = len(rows)
}

func (t *table) row(n *node.Node) row {
	i := t.region.Cloud.Instance(n.ID)
	r := row{id: n.ID, role: roleOf(t.region, n), address: i.PrivateIP.String(), state: "starting"}
	s, err := n.Status()
	if err != nil {
		return r
	}
	r.state, r.doing = string(s.State), doing(s)
	r.fetched = status.Bytes(s.Assets.Fetched)
	if s.Boot.Ready.IsZero() {
		r.took = duration(time.Since(n.Started()).Truncate(100 * time.Millisecond))
	} else {
		r.took = duration(s.Boot.Ready.Sub(n.Started()))
	}
	return r
}

// doing is the wait in progress, or what the state says of itself.
func doing(s *status.Status) string {
	switch {
	case s.State == status.StateFailed || s.State == status.StateDegraded:
		return string(s.Reason) + ": " + firstLine(s.Message)
	case s.State == status.StateReady:
		return fmt.Sprintf("%d changes, %d units", s.Apply.Changes, len(s.Units))
	case len(s.Waits) > 0:
		return s.Waits[len(s.Waits)-1].Name
	}
	return firstLine(s.Message)
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first
}

func (t *table) format(r row) string {
	doing := r.doing
	if room := max(t.width-91, 16); t.terminal && len([]rune(doing)) > room {
		doing = string([]rune(doing)[:room-1]) + "…"
	}
	return fmt.Sprintf("  %-20s %-13s %-14s %-9s %-28s %10s %8s", r.id, r.role, r.address, r.state, doing, r.fetched, r.took)
}

func (t *table) colour(r row) string {
	code := map[string]string{"ready": green, "failed": red, "degraded": yellow}[r.state]
	if code == "" {
		return t.format(r)
	}
	return strings.Replace(t.format(r), " "+r.state+" ", " "+t.paint(code, r.state)+" ", 1)
}
