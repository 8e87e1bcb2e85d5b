package status

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Duration is d as a person says it, with three digits or so: "1.4 ms", "12 ms", "1.20 s", "41.2 s", "2 min 05 s".
func Duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 ms"
	case d < 100*time.Microsecond:
		return "<0.1 ms"
	case d.Round(100*time.Microsecond) < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d.Round(time.Millisecond) < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d.Round(10*time.Millisecond) < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d.Round(100*time.Millisecond) < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d.Round(time.Second) < time.Hour:
		s := int(d.Round(time.Second).Seconds())
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	}
	m := int(d.Round(time.Minute).Minutes())
	return fmt.Sprintf("%d h %02d min", m/60, m%60)
}

// Bytes is n in binary units: "640 B", "1.5 MiB", "412 MiB".
func Bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n)/1024, []string{"KiB", "MiB", "GiB", "TiB"}
	for v >= 999.5 && len(units) > 1 {
		v, units = v/1024, units[1:]
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, units[0])
	}
	return fmt.Sprintf("%.0f %s", v, units[0])
}

// rate is "512 MiB/s", or empty where it would say nothing about the network.
func rate(n int64, d time.Duration) string {
	if n < 1<<20 || d < 10*time.Millisecond {
		return ""
	}
	return Bytes(int64(float64(n)/d.Seconds())) + "/s"
}

// oneLine makes text from outside safe for a terminal: without control characters and on one line.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r) || unicode.In(r, unicode.Cf): // Cf: direction marks, invisible joiners
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// shorten cuts the middle out of s, so that both what a name begins with and the file it ends with can be seen.
func shorten(s string, limit int, dots string) string {
	runes := []rune(s)
	if len(runes) <= limit {
		return s
	}
	keep := limit - len([]rune(dots))
	if keep < 2 {
		return string(runes[:max(limit, 0)])
	}
	head := keep / 3 // names differ at their ends
	return string(runes[:head]) + dots + string(runes[len(runes)-(keep-head):])
}

// wrap breaks text into lines of at most width. A line that continues another begins with a space.
func wrap(text string, width float64, measure func(string) float64) (lines []string) {
	var line string
	for word := range strings.SplitSeq(text, " ") {
		if measure(" "+word) > width {
			word = fit(word, width, func(s string) float64 { return measure(" " + s) })
		}
		switch {
		case line == "":
			line = word
		case measure(line+" "+word) > width:
			lines = append(lines, line)
			line = " " + word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// fit shortens s until it is at most width.
func fit(s string, width float64, measure func(string) float64) string {
	short := s
	for n := utf8.RuneCountInString(s); n > 4 && measure(short) > width; {
		n--
		short = shorten(s, n, "…")
	}
	return short
}
