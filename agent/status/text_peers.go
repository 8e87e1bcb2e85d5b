package status

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The words of package discovery that have a meaning here.
const (
	peerSuspect = "suspect"
	peerDead    = "dead"
	peerLeft    = "left"
	roleMaster  = "master"
)

// lately is for how long dead peers are counted.
const lately = 10 * time.Minute

// PeersView says what of Peers is written, and how.
type PeersView struct {
	Roles, States []string // the nodes with one of these alone; of all, where empty
	Color         bool     // for terminals
	Width         int      // in columns; 0: no limit
}

// Text writes the nodes as a table, and a line that counts all of them. When the table is wider than the view, the columns
// that are needed least are left out and named.
func (p *Peers) Text(w io.Writer, view PeersView) error {
	_, err := w.Write(p.text(view, time.Now()))
	return err
}

func (p *Peers) text(view PeersView, now time.Time) []byte {
	out := &page{color: view.Color, now: now}
	if p.stale(now) {
		fmt.Fprintf(out, "%s  written %s (%s ago): the agent does not say any more who is there; `rekindle status` may say why\n\n",
			out.paint("1;31", "STALE"), clock(p.Written), out.long(p.Written))
	}
	peers := p.Filter(view.Roles, view.States).Peers
	slices.SortStableFunc(peers, comparePeers)
	columns, without := fitting(filled(peerColumns(out, p.Self, peers), peers), view.Width)
	for row := range len(peers) + 1 {
		var line bytes.Buffer
		for i, c := range columns {
			cell := c.cells[row]
			if i < len(columns)-1 {
				cell = fmt.Sprintf("%-*s  ", c.width, cell)
			}
			if row > 0 && c.paint != nil && !peers[row-1].gone() {
				cell = out.paint(c.paint(peers[row-1]), cell)
			}
			line.WriteString(cell)
		}
		text := strings.TrimRight(line.String(), " ")
		switch {
		case row == 0:
			text = out.paint("1", text)
		case peers[row-1].gone():
			text = out.paint("2", text)
		}
		fmt.Fprintln(out, text)
	}
	fmt.Fprintln(out)
	out.lines(p.total(len(peers), now), view.Width)
	if len(without) > 0 {
		out.lines("not shown, as the terminal is narrow: "+strings.ToLower(strings.Join(without, ", ")), view.Width)
	}
	return out.Bytes()
}

// lines writes text in as many lines as it needs; a width of 0 is no limit.
func (p *page) lines(text string, width int) {
	lines := []string{text}
	if width > 0 {
		lines = wrap(text, float64(width), runes)
	}
	fmt.Fprintln(p, strings.Join(lines, "\n"))
}

// comparePeers puts masters first, then orders by role and name; who is gone comes last.
func comparePeers(a, b Peer) int {
	return cmp.Or(
		first(!a.gone(), !b.gone()), first(a.Role == roleMaster, b.Role == roleMaster),
		cmp.Compare(a.Role, b.Role), cmp.Compare(a.name(), b.name()), cmp.Compare(a.Instance, b.Instance),
	)
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (p Peer) gone() bool   { return p.State == peerDead || p.State == peerLeft }
func (p Peer) name() string { return cmp.Or(p.Node, p.Instance) }

// total is "1,204 nodes, 3 of them masters; 1 suspect; 2 dead in the last 10 minutes".
func (p *Peers) total(shown int, now time.Time) string {
	living, masters := 0, 0
	states := map[string]int{}
	for _, peer := range p.Peers {
		if !peer.gone() {
			living++
			if peer.API != "" {
				masters++
			}
		}
		if !peer.gone() || now.Sub(peer.Since) <= lately {
			states[peer.State]++
		}
	}
	text := count(living, "node", "nodes") + ", " + ofMasters(masters)
	if n := states[peerSuspect]; n > 0 {
		text += "; " + thousands(n) + " suspect"
	}
	var gone []string
	for _, state := range []string{peerDead, peerLeft} {
		if n := states[state]; n > 0 {
			gone = append(gone, thousands(n)+" "+state)
		}
	}
	if len(gone) > 0 {
		text += "; " + strings.Join(gone, " and ") + " in the last 10 minutes"
	}
	if shown < len(p.Peers) {
		text += fmt.Sprintf(" (%s of %s shown)", thousands(shown), thousands(len(p.Peers)))
	}
	return text
}
