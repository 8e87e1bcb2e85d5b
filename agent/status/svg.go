package status

import (
	"fmt"
	"io"
)

// The sheet, in pixels. A label of labelMax always fits beside its bar or in it: of what is left of a bar, right of it,
// and the bar itself, one is at least a third of the chart.
const (
	svgFold   = 64 // siblings that each get a row
	svgMargin = 28
	svgChart  = 960
	svgNames  = 360 // at most
	svgIndent = 14
	svgRow    = 22
	svgBar    = 13
	svgGap    = 6 // before each step of the first level
	labelGap  = 6
	labelMax  = svgChart/3 - 2*labelGap

	titleSize, textSize, labelSize = 19, 12.5, 11.5
)

const colourFailed = "#cf3030"

// colours differ in lightness too, so that a grey print still tells neighbours apart.
var colours = []struct{ kind, fill string }{
	{kindIMDS, "#7b61c4"},
	{kindAWS, "#d9822b"},
	{kindConfig, "#546a7b"},
	{kindAssets, "#2f74c0"},
	{kindEtcd, "#0e8f96"},
	{kindFiles, "#4a9653"},
	{kindUnits, "#b0820a"},
	{kindWaits, "#9aa4b1"},
	{kindOther, "#7d8590"},
}

func colour(kind string) string {
	for _, c := range colours {
		if c.kind == kind {
			return c.fill
		}
	}
	return colours[len(colours)-1].fill
}

// band is the ground of a row: it leads the eye from a name to a bar far right.
func band(i int) string {
	if i%2 == 0 {
		return "#f5f6f8"
	}
	return "#ffffff"
}

// tint is a light and opaque form of a colour, for steps whose own steps are drawn below them.
func tint(fill string) string {
	var r, g, b int
	if _, err := fmt.Sscanf(fill, "#%02x%02x%02x", &r, &g, &b); err != nil {
		return fill
	}
	light := func(v int) int { return v + (255-v)*64/100 }
	return fmt.Sprintf("#%02x%02x%02x", light(r), light(g), light(b))
}

// SVG draws the timeline as a picture that needs nothing but itself: no script, no font, no style sheet. The same
// timeline gives the same bytes.
func (tl *Timeline) SVG(w io.Writer) error {
	s := tl.Snapshot()
	rows, total := s.rows(svgFold)
	d := newSheet(s, rows, total)
	d.head()
	d.axis()
	for i, r := range rows {
		d.row(i, r)
	}
	d.errors()
	_, err := w.Write(d.finish())
	return err
}

// textWidth estimates on the wide side: a viewer's system font is not known, and DejaVu Sans is the widest of those
// that are common.
func textWidth(s string, size float64, bold bool) float64 {
	em := 0.0
	for _, r := range s {
		switch {
		case r == 'm' || r == 'w' || r == 'M' || r == 'W' || r == '%' || r == '@':
			em += 0.98
		case r == 'i' || r == 'j' || r == 'l' || r == ' ' || r == '.' || r == ',' || r == ':' || r == ';' || r == '·':
			em += 0.34
		case r == 'f' || r == 't' || r == 'r' || r == '-' || r == '/' || r == '(' || r == ')' || r == 'I':
			em += 0.42
		case 'A' <= r && r <= 'Z':
			em += 0.72
		case r > 0x2e80: // East Asian
			em += 1.05
		default:
			em += 0.64
		}
	}
	if bold {
		em *= 1.1
	}
	return em * size
}

// fitText shortens s until it is at most width pixels wide.
func fitText(s string, width, size float64, bold bool) string {
	return fit(s, width, func(s string) float64 { return textWidth(s, size, bold) })
}
