package status

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// cellLimit bounds what another node can put into the table, in characters.
const cellLimit = 64

// noCell stands where there is nothing to say, so that every line has as many words for awk.
const noCell = "-"

// column is one of the table of peers.
type column struct {
	heading string
	text    func(Peer) string
	paint   func(Peer) string // colour of the cell; nil: none
	rank    int               // the highest is left out first, 0 never

	cells []string // below the heading, which is the first
	width int
}

func peerColumns(p *page, self string, peers []Peer) []column {
	named := slices.ContainsFunc(peers, func(peer Peer) bool { return peer.Node != "" && peer.Node != peer.Instance })
	// What a node that is gone said last is no longer so.
	living := func(said func(Peer) string) func(Peer) string {
		return func(peer Peer) string {
			if peer.gone() {
				return ""
			}
			return said(peer)
		}
	}
	api, etcd := living(func(peer Peer) string { return peer.API }), living(func(peer Peer) string { return peer.Etcd })
	return []column{
		{heading: "INSTANCE", text: func(peer Peer) string { return peer.Instance }},
		{heading: "NODE", rank: 5, text: func(peer Peer) string {
			if !named {
				return "" // as it would only repeat the instances
			}
			return peer.Node
		}},
		{heading: "ROLE", text: func(peer Peer) string { return peer.Role }},
		{heading: "ZONE", rank: 4, text: func(peer Peer) string { return peer.Zone }},
		{heading: "ADDRESS", text: func(peer Peer) string { return strings.Join(peer.Addresses[:min(1, len(peer.Addresses))], "") }},
		{heading: "STATE", text: func(peer Peer) string { return peer.State }, paint: func(peer Peer) string {
			return map[string]string{peerSuspect: "33"}[peer.State]
		}},
		{heading: "FOR", rank: 2, text: func(peer Peer) string {
			if peer.Since.IsZero() {
				return ""
			}
			return p.long(peer.Since)
		}},
		{heading: "API", rank: 1, text: api, paint: healthPaint(api)},
		{heading: "ETCD", rank: 3, text: etcd, paint: healthPaint(etcd)},
		{heading: "FOUND BY", rank: 6, text: func(peer Peer) string {
			if peer.Instance == self {
				return "this node"
			}
			return strings.Trim(peer.Mode+", "+peer.Through, ", ")
		}},
	}
}

func healthPaint(health func(Peer) string) func(Peer) string {
	return func(peer Peer) string {
		return map[string]string{"healthy": "32", "starting": "33", "leaving": "33", "unhealthy": "31"}[health(peer)]
	}
}

// filled are the columns with their cells, without those that say nothing.
func filled(columns []column, peers []Peer) []column {
	for i := range columns {
		c := &columns[i]
		c.cells, c.width = []string{c.heading}, len(c.heading)
		for _, peer := range peers {
			cell := cmp.Or(shorten(oneLine(c.text(peer)), cellLimit, "…"), noCell)
			c.cells, c.width = append(c.cells, cell), max(c.width, utf8.RuneCountInString(cell))
		}
	}
	return slices.DeleteFunc(columns, func(c column) bool {
		return c.rank > 0 && !slices.ContainsFunc(c.cells[1:], func(cell string) bool { return cell != noCell })
	})
}

// fitting are the columns that fit into width, and the headings of those that do not.
func fitting(columns []column, width int) (fit []column, without []string) {
	for {
		needed, last := -2, 0
		for i, c := range columns {
			needed += c.width + 2
			if c.rank > columns[last].rank {
				last = i
			}
		}
		if width <= 0 || needed <= width || columns[last].rank == 0 {
			return columns, without
		}
		without = append(without, columns[last].heading)
		columns = slices.Delete(columns, last, last+1)
	}
}
