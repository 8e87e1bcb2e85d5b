package config

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// source is the text of one layer, and where it stands in the file that the operator knows.
type source struct {
	layer string
	file  string
	skip  int // lines of the file before the text
	lines []string
	hide  bool // it contains a secret, so no line is shown
}

func newSource(l Layer) *source {
	s := &source{layer: l.Name, file: l.file, skip: l.skip}
	if s.file == "" {
		s.file = l.Name
	}
	text := strings.ReplaceAll(string(l.Data), "\r\n", "\n")
	s.hide = secret(text) != ""
	// YAML takes a lone carriage return for a line break, so the lines are counted likewise.
	s.lines = strings.Split(strings.ReplaceAll(text, "\r", "\n"), "\n")
	return s
}

// at completes a problem with the position (counted in the text) and the source line.
func (s *source) at(line, column int, p Problem) Problem {
	p.File = s.file
	if line > 0 {
		p.Line, p.Column = line+s.skip, max(column, 1)
		if line <= len(s.lines) && !s.hide && !secretName.MatchString(s.lines[line-1]) {
			p.source = clip(s.lines[line-1], 160)
		}
	}
	return p
}

// clip shortens text that goes into a message.
func clip(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit]) + "..."
}

// position of a byte offset, counted from 1.
func position(data []byte, offset int) (line, column int) {
	before := data[:offset]
	line = bytes.Count(before, []byte("\n")) + 1
	return line, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

var utf8BOM = []byte("\xef\xbb\xbf")

// text checks that data is UTF-8 text without control characters, and drops a byte order mark.
func (s *source) text(data []byte) ([]byte, *Problem) {
	data = bytes.TrimPrefix(data, utf8BOM)
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		bad := ""
		switch {
		case r == utf8.RuneError && size == 1:
			bad = "not UTF-8"
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f:
			bad = "control character"
		}
		if bad != "" {
			line, column := position(data, i)
			p := s.at(line, column, Problem{Message: bad + " (byte 0x" + hex(data[i]) + ")",
				Remedy: "save the file as UTF-8 text; compressed user-data must be gzip"})
			p.source = ""
			return nil, &p
		}
		i += size
	}
	return data, nil
}

func hex(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}
