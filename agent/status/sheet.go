package status

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sheet is the picture while it is drawn.
type sheet struct {
	out   bytes.Buffer
	tl    *Timeline
	rows  []row
	total time.Duration

	left, width, top, bottom float64 // of the chart; width is the whole sheet's
	tops                     []float64
	failures                 []string // wrapped lines
}

func newSheet(tl *Timeline, rows []row, total time.Duration) *sheet {
	d := &sheet{tl: tl, rows: rows, total: total, top: 134}
	names := 90.0
	y := d.top
	for i, r := range rows {
		names = max(names, float64(r.depth*svgIndent)+textWidth(r.name, textSize, r.depth == 0))
		if r.depth == 0 && i > 0 {
			y += svgGap
		}
		d.tops = append(d.tops, y)
		y += svgRow
	}
	d.bottom = y + 4
	d.left = svgMargin + min(names, svgNames) + 18
	d.width = d.left + svgChart + svgMargin
	d.failures = d.wrapFailures(d.width - 2*svgMargin)
	return d
}

func (d *sheet) x(at time.Duration) float64 {
	return d.left + float64(at)/float64(d.total)*svgChart
}

func (d *sheet) head() {
	title := "Boot of " + d.tl.title(d.total)
	if rest, nobody := strings.CutPrefix(title, "Boot of boot "); nobody {
		title = "Boot " + rest
	}
	fill := "#1c2430"
	if d.tl.Root.Error != "" {
		fill = colourFailed
	}
	d.text(svgMargin, 40, titleSize, fitText(title, d.width-2*svgMargin, titleSize, true), `font-weight="600" fill="`+fill+`"`)
	subtitle := "began " + d.tl.Root.Start.UTC().Format("2006-01-02 15:04:05.000 UTC")
	if n := d.tl.Root.Total(); n > 0 {
		subtitle += " · " + Bytes(n) + " over the network"
	}
	d.text(svgMargin, 61, textSize, subtitle, `fill="#5b6675"`)
	d.legend()
}

// legend names only the colours that are in the picture.
func (d *sheet) legend() {
	x := float64(svgMargin)
	entry := func(fill, label string) {
		d.rect(x, 73.5, 11, 11, 2.5, `fill="`+fill+`"`)
		d.text(x+17, 83, labelSize, label, `fill="#3a4553"`)
		x += 17 + textWidth(label, labelSize, false) + 16
	}
	for _, c := range colours {
		if slices.ContainsFunc(d.rows, func(r row) bool { return r.kind == c.kind && r.err == "" }) {
			entry(c.fill, c.kind)
		}
	}
	if slices.ContainsFunc(d.rows, func(r row) bool { return r.err != "" }) {
		entry(colourFailed, "failed")
	}
}

func (d *sheet) axis() {
	for i, r := range d.rows {
		d.rect(svgMargin-8, d.tops[i], d.width-2*svgMargin+16, svgRow, 3, `fill="`+band(i)+`"`)
		if r.depth == 0 && i > 0 {
			y := d.tops[i] - svgGap/2
			d.line(svgMargin-8, y, d.width-svgMargin+8, y, "#dfe3e8")
		}
	}
	for _, tick := range ticks(d.total, 10) {
		x := d.x(tick.at)
		d.line(x, d.top-6, x, d.bottom, "#d3d8df")
		anchor := "middle"
		if half := textWidth(tick.label, labelSize, false) / 2; x+half > d.width-4 {
			anchor = "end"
		}
		d.text(x, d.top-12, labelSize, tick.label, `text-anchor="`+anchor+`" fill="#5b6675"`)
	}
}

func (d *sheet) row(i int, r row) {
	fill := colour(r.kind)
	if r.err != "" {
		fill = colourFailed
	}
	mid := d.tops[i] + svgRow/2
	base := mid + 4.2
	tip := r.name + ": " + r.label()
	if r.err != "" {
		tip += "\n" + r.err
	}
	d.out.WriteString("<g><title>" + escape(tip) + "</title>\n")
	indent := float64(r.depth * svgIndent)
	bold, ink, weight := r.depth == 0, "#3a4553", "400"
	if bold {
		ink, weight = "#1c2430", "600"
	}
	if r.err != "" {
		ink = colourFailed
	}
	style := `font-weight="` + weight + `" fill="` + ink + `"`
	name := fitText(r.name, d.left-18-svgMargin-indent, textSize, bold)
	d.text(svgMargin+indent, base, textSize, name, style)

	from, to := d.x(r.from), d.x(r.to)
	to = max(to, from+2)
	shape := `fill="` + fill + `"`
	switch {
	case r.running:
		shape = `fill="` + tint(fill) + `" stroke="` + fill + `" stroke-dasharray="4 3"`
	case r.parent:
		shape = `fill="` + tint(fill) + `"`
	}
	d.rect(from, mid-svgBar/2.0, to-from, svgBar, 2, shape)
	d.label(r, from, to, base, band(i))
	d.out.WriteString("</g>\n")
}

// label stands right of its bar; where the sheet ends, in it or left of it.
func (d *sheet) label(r row, from, to, base float64, ground string) {
	label := fitText(r.label(), labelMax, labelSize, false)
	width := textWidth(label, labelSize, false)
	dark, light := `fill="#3a4553"`, `fill="#ffffff"`
	if r.err != "" {
		dark = `fill="` + colourFailed + `"`
	}
	// The halo keeps the lines of the axis out of the letters.
	halo := ` stroke="` + ground + `" stroke-width="3" stroke-linejoin="round" paint-order="stroke"`
	switch {
	case to+labelGap+width <= d.left+svgChart:
		d.text(to+labelGap, base, labelSize, label, dark+halo)
	case to-from >= width+2*labelGap:
		ink := light
		if r.parent || r.running {
			ink = dark
		}
		d.text(to-labelGap, base, labelSize, label, `text-anchor="end" `+ink)
	default:
		d.text(from-labelGap, base, labelSize, label, `text-anchor="end" `+dark+halo)
	}
}

// wrapFailures is what failed, in words, for whoever sees the picture where there are no tooltips.
func (d *sheet) wrapFailures(width float64) (lines []string) {
	measure := func(s string) float64 { return textWidth(s, textSize, false) }
	for i, own := range causes(d.rows) {
		if own {
			lines = append(lines, wrap(d.rows[i].name+": "+d.rows[i].err, width-18, measure)...)
		}
	}
	if len(lines) == 0 && d.tl.Root.Error != "" {
		lines = wrap(oneLine(d.tl.Root.Error), width-18, measure)
	}
	return lines
}

func (d *sheet) errors() {
	y := d.bottom + 26
	for _, line := range d.failures {
		x := float64(svgMargin)
		if strings.HasPrefix(line, " ") {
			x += 14
		} else {
			d.rect(x, y-8.5, 8, 8, 2, `fill="`+colourFailed+`"`)
			x += 14
		}
		d.text(x, y, textSize, strings.TrimSpace(line), `fill="#3a4553"`)
		y += 18
	}
}

// finish puts the sheet's frame around what was drawn.
func (d *sheet) finish() []byte {
	height := d.bottom + 24
	if n := len(d.failures); n > 0 {
		height += 12 + float64(n)*18
	}
	size := fmt.Sprintf(`width="%s" height="%s"`, num(d.width), num(height))
	var out bytes.Buffer
	fmt.Fprintf(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" %s viewBox=\"0 0 %s %s\" "+
		"font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\">\n",
		size, num(d.width), num(height))
	fmt.Fprintf(&out, "<rect %s fill=\"#ffffff\"/>\n", size)
	out.Write(d.out.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func (d *sheet) text(x, y, size float64, s, style string) {
	fmt.Fprintf(&d.out, "<text x=\"%s\" y=\"%s\" font-size=\"%s\" %s>%s</text>\n", num(x), num(y), num(size), style, escape(s))
}

func (d *sheet) rect(x, y, w, h, r float64, style string) {
	fmt.Fprintf(&d.out, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" rx=\"%s\" %s/>\n",
		num(x), num(y), num(w), num(h), num(r), style)
}

func (d *sheet) line(x1, y1, x2, y2 float64, stroke string) {
	fmt.Fprintf(&d.out, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" stroke=\"%s\"/>\n", num(x1), num(y1), num(x2), num(y2), stroke)
}

// num is a coordinate to a tenth of a pixel.
func num(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}
