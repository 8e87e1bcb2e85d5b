package status

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	minWidth = 60 // narrower than this, lines are left to wrap
	textFold = 16 // siblings on a terminal that each get a line
)

// glyphs are what a bar and a tree are drawn with.
type glyphs struct {
	full, left, right    string // a bar's cell, and its halves; where there are none, they are full
	branch, last, across string
	dots, dot, failed    string
}

var (
	unicodeGlyphs = glyphs{"█", "▌", "▐", "├ ", "└ ", "│ ", "…", " · ", "✗ "}
	asciiGlyphs   = glyphs{"#", "#", "#", "|-", "`-", "| ", "..", ", ", "! "}
)

// Text draws the timeline as bars for a terminal of that many columns, in ASCII unless the environment's locale is
// UTF-8. The last line break is written, nothing else is assumed of the terminal.
func (tl *Timeline) Text(w io.Writer, width int) error {
	g := asciiGlyphs
	if utf8Locale(os.Getenv) {
		g = unicodeGlyphs
	}
	_, err := w.Write(tl.Snapshot().bars(width, g))
	return err
}

// utf8Locale follows the precedence of setlocale(3).
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.HasSuffix(v, "utf-8") || strings.HasSuffix(v, "utf8")
		}
	}
	return false
}

// columns are the widths of what stands in a line: the name, the bar, the duration, the bytes, and the rate.
type columns struct{ name, bar, took, size, rate int }

func (g glyphs) columns(rows []row, width int) columns {
	var c columns
	notes := 0
	for _, r := range rows {
		c.name = max(c.name, len([]rune(g.indent(r)+r.name)))
		c.took = max(c.took, len(Duration(r.took())))
		c.size = max(c.size, len(r.size()))
		c.rate = max(c.rate, len(rate(r.bytes, r.took())))
		notes = max(notes, len([]rune(strings.Join(r.notes(), g.dot))))
	}
	if width < 100 {
		c.rate = 0
	}
	c.name = min(c.name, max(width*38/100, 20))
	used := c.name + 2 + 2 + c.took
	for _, w := range []int{c.size, c.rate, notes} {
		if w > 0 {
			used += 2 + w
		}
	}
	c.bar = max(width-used, 12)
	return c
}

func (tl *Timeline) bars(width int, g glyphs) []byte {
	width = max(width, minWidth)
	rows, total := tl.rows(textFold)
	c := g.columns(rows, width)
	var out bytes.Buffer
	write := func(line string) { out.WriteString(strings.TrimRight(line, " ") + "\n") }
	explain := func(indent, err string) {
		room := float64(width - len([]rune(indent+g.failed)))
		for i, line := range wrap(err, room, func(s string) float64 { return float64(len([]rune(s))) }) {
			mark := g.failed
			if i > 0 {
				mark = " "
			}
			write(indent + mark + line)
		}
	}
	write(tl.title(total))
	own := causes(rows)
	if tl.Root.Error != "" && !slices.Contains(own, true) {
		explain("", oneLine(tl.Root.Error))
	}
	write(strings.Repeat(" ", c.name+2) + axisText(total, c.bar))
	for i, r := range rows {
		line := fmt.Sprintf("%-*s  %s  %*s", c.name, shorten(g.indent(r)+r.name, c.name, g.dots),
			g.bar(r, total, c.bar), c.took, Duration(r.took()))
		if c.size > 0 {
			line += fmt.Sprintf("  %*s", c.size, r.size())
		}
		if c.rate > 0 {
			line += fmt.Sprintf("  %*s", c.rate, rate(r.bytes, r.took()))
		}
		write(line + "  " + strings.Join(r.notes(), g.dot))
		if own[i] {
			explain(strings.Repeat(" ", min(2*r.depth, c.name)), r.err)
		}
	}
	return out.Bytes()
}

// indent draws the branches of the tree left of a name; the first level has none, it is the trunk.
func (g glyphs) indent(r row) string {
	var b strings.Builder
	for i := 1; i < len(r.tree); i++ {
		more, own := r.tree[i], i == len(r.tree)-1
		switch {
		case own && more:
			b.WriteString(g.branch)
		case own:
			b.WriteString(g.last)
		case more:
			b.WriteString(g.across)
		default:
			b.WriteString("  ")
		}
	}
	return b.String()
}

// bar draws to half a cell; the shortest step is half a cell long.
func (g glyphs) bar(r row, total time.Duration, width int) string {
	halves := func(d time.Duration) int { return int(float64(d) / float64(total) * float64(2*width)) }
	from := min(halves(r.from), 2*width-1)
	to := max(halves(r.to), from+1)
	var b strings.Builder
	for cell := range width {
		left := from <= 2*cell && 2*cell < to
		right := from <= 2*cell+1 && 2*cell+1 < to
		switch {
		case left && right:
			b.WriteString(g.full)
		case left:
			b.WriteString(g.left)
		case right:
			b.WriteString(g.right)
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// axisText writes the ticks over the bars, as many as fit without touching.
func axisText(total time.Duration, width int) string {
	cells := []rune(strings.Repeat(" ", width))
	free := 0
	for _, tick := range ticks(total, max(width/9, 2)) {
		text := []rune(tick.label)
		at := int(float64(tick.at) / float64(total) * float64(width))
		if at < free || at+len(text) > width {
			continue
		}
		copy(cells[at:], text)
		free = at + len(text) + 2
	}
	return string(cells)
}
