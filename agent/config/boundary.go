package config

import (
	"bytes"
	"fmt"
	"strings"
)

// isDelimiter tells a boundary line from YAML's "---".
func isDelimiter(line string) bool {
	line = strings.TrimRight(line, " \t\r\n")
	return len(line) > 2 && strings.HasPrefix(line, "--") && line != "---" && !strings.HasPrefix(line, "--- ")
}

// multipart splits the body at its boundary lines and reads each part.
func (r *reader) multipart(e entity, boundary string, says func(string) string, depth int) (layers []Layer, others int) {
	l := e.body
	if boundary == "" {
		r.fail(Layer{Name: l.Name, file: l.file}, 0, 0, says("multipart without a boundary"), `write Content-Type: multipart/mixed; boundary="BOUNDARY"`)
		return nil, 0
	}
	var parts []Layer
	n, start, from, closed := 0, -1, 0, false
	offset := 0
	for line := range bytes.Lines(l.Data) {
		n++
		text := strings.TrimRight(string(line), " \t\r\n")
		end := text == "--"+boundary+"--"
		switch {
		case end || text == "--"+boundary:
			if start >= 0 {
				part := l
				// The line break before a boundary belongs to the boundary: it would be rubbish after gzip.
				part.Data, part.skip = bytes.TrimSuffix(l.Data[start:offset], []byte("\n")), l.skip+from
				if bytes.HasSuffix(line, []byte("\r\n")) {
					part.Data = bytes.TrimSuffix(part.Data, []byte("\r"))
				}
				parts = append(parts, part)
			}
			if closed {
				r.fail(l, n, 1, says("a boundary after the closing one"), "remove the two dashes at the end of the earlier boundary line")
			}
			closed = closed || end
			start, from = offset+len(line), n
			if end {
				start = -1
			}
		case isDelimiter(text) && resembles(text, boundary):
			r.fail(l, n, 1, says("the line "+quote(text)+" is not the boundary"), "write --"+clip(boundary, 70)+", and two dashes more after the last part")
		}
		offset += len(line)
	}
	switch {
	case start < 0 && len(parts) == 0 && !closed:
		r.fail(l, candidate(l.Data), 1, says("the boundary "+quote("--"+boundary)+" does not occur"),
			"the lines between the parts must be --BOUNDARY, with the BOUNDARY of the Content-Type header")
		return nil, 0
	case start >= 0:
		part := l
		part.Data, part.skip = l.Data[start:], l.skip+from
		parts = append(parts, part)
		r.fail(l, n, 1, says("the closing boundary is missing: the user-data may be cut off"), "end with the line --"+clip(boundary, 70)+"--")
	}
	for _, part := range parts {
		r.parts++
		if r.parts > maxParts {
			r.fail(part, 1, 1, says(fmt.Sprintf("more than %d parts", maxParts)), "merge parts")
			break
		}
		got, ignored := r.entity(part, fmt.Sprintf("part %d", r.parts), depth+1)
		layers, others = append(layers, got...), others+ignored
	}
	return layers, others
}

// resembles tells a misspelt boundary from a line that happens to begin with dashes.
func resembles(line, boundary string) bool {
	const marks = "-= \t"
	core := strings.Trim(boundary, marks)
	return core != "" && strings.EqualFold(strings.Trim(line, marks), core)
}

// candidate is the first line that may have been meant as a boundary, 0 when there is none.
func candidate(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if isDelimiter(string(line)) {
			return n
		}
	}
	return 0
}
