package status

import (
	"fmt"
	"io"
	"strings"
)

// discovery is the section on how the others are found: one value a line, then a table of what the proxy knows.
func (p *page) discovery(d *Discovery) {
	fmt.Fprintf(p, "\n%s\n", p.paint("1", "DISCOVERY"))
	p.table(func(w io.Writer) {
		line := wrapped(w)
		line("mode", d.Mode)
		if d.Error != "" {
			line("", "NOT AS CONFIGURED: "+d.Error)
		}
		nodes := count(d.Nodes, "node", "nodes") + ", " + ofMasters(d.Masters)
		if !d.Since.IsZero() {
			nodes += ", for " + p.long(d.Since)
		}
		line("nodes", nodes)
		name := "names"
		for _, n := range d.Names {
			line(name, n.Name+" is "+joined(n.Addresses))
			name = ""
		}
		if x := d.Proxy; x != nil {
			line("proxy", x.Listen+", "+count(x.Open, "connection", "connections"))
			if len(x.Backends) == 0 {
				line("", "NO API SERVER IS KNOWN")
			}
		}
		if r := d.Route53; r != nil {
			p.route53(r, line)
		}
	})
	if d.Proxy != nil {
		p.backends(d.Proxy.Backends)
	}
}

func (p *page) route53(r *Route53, line func(name, text string)) {
	words := []string{r.State}
	switch {
	case r.State != zoneReady && r.State != zoneUnknown:
		words[0] = strings.ToUpper(r.State)
		if wait := r.Next.Sub(p.now); wait > 0 {
			words = append(words, "tried again in "+p.span(wait))
		}
	case r.Wrote.IsZero():
		words = append(words, "nothing written by this node")
	default:
		words = append(words, "written by this node "+p.long(r.Wrote)+" ago")
	}
	if r.Zone != "" {
		words = append([]string{r.Zone}, words...)
	}
	line("route 53", strings.Join(words, ", "))
	line("", r.Error)
	if r.Hint != "" {
		line("", "what to do: "+r.Hint)
	}
	for _, foreign := range r.Foreign {
		line("", "NOT OURS: "+foreign)
	}
	if len(r.Held) > 0 {
		line("", "kept until a majority of the masters is seen: "+joined(r.Held))
	}
}

func (p *page) backends(backends []Backend) {
	if len(backends) == 0 {
		return
	}
	p.table(func(w io.Writer) {
		fmt.Fprintln(w, "  API SERVER\tADDRESS\tSTATE\tCONNECTIONS")
		for _, b := range backends {
			state := oneLine(b.State)
			if !b.usable() {
				state = strings.ToUpper(state)
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%d\n", oneLine(b.Instance), oneLine(b.Address), state, b.Open)
		}
	})
}

// wrapped writes rows of a name and a text, which takes as many lines as it needs; without text none.
func wrapped(w io.Writer) func(name, text string) {
	return func(name, text string) {
		if text == "" {
			return
		}
		for _, part := range wrap(oneLine(text), etcdColumns, runes) {
			fmt.Fprintf(w, "  %s\t%s\n", name, part)
			name = ""
		}
	}
}

func joined(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// ofMasters is "3 of them masters".
func ofMasters(n int) string {
	if n == 0 {
		return "NO MASTER among them"
	}
	return count(n, "of them a master", "of them masters")
}

// count is "1 node" or "1,204 nodes".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands is n, which is not negative, as a person reads it: "1,204".
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
