package config

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"regexp"
	"strings"
)

// PartType is the content type of the parts that are configuration.
const PartType = "application/vnd.rekindle+yaml"

const (
	maxParts   = 64
	maxNesting = 4
)

// The parts are split here and not by mime/multipart, because a message must say which part, on which line of the
// file, and because what the field's tools tolerate differs: CRLF or LF or both, an unquoted boundary, a preamble.

// entity is a part, or the whole message: its headers and its body.
type entity struct {
	headers map[string]string // by lower-case name
	lines   map[string]int    // where each header stands
	body    Layer
	broken  int // the line that is neither a header nor empty, 0 when all is well
	closed  bool
}

// isMIME tells whether data begins with header lines of MIME, or with a boundary whose header lines were lost.
func isMIME(data []byte) bool {
	text := string(bytes.TrimLeft(data, " \t\r\n"))
	if first, _, _ := strings.Cut(text, "\n"); isDelimiter(first) {
		return strings.Contains(strings.ToLower(text), "content-type:")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		name, _, ok := strings.Cut(strings.ToLower(line), ":")
		switch {
		case line == "" || !ok && !folded(line):
			return false
		case name == "mime-version", name == "content-type", name == "content-transfer-encoding":
			return true
		}
	}
	return false
}

// isDelimiter tells a boundary line from YAML's "---".
func isDelimiter(line string) bool {
	line = strings.TrimRight(line, " \t\r\n")
	return len(line) > 2 && strings.HasPrefix(line, "--") && line != "---" && !strings.HasPrefix(line, "--- ")
}

func folded(line string) bool { return line != "" && (line[0] == ' ' || line[0] == '\t') }

// mime reads a whole message.
func (r *reader) mime(l Layer, depth int) ([]Layer, Kind) {
	if text := bytes.TrimLeft(l.Data, " \t\r\n"); len(text) < len(l.Data) {
		r.fail(l, 1, 1, "MIME: an empty line before the headers", "begin with the line that says Content-Type")
		l.skip += bytes.Count(l.Data[:len(l.Data)-len(text)], []byte("\n"))
		l.Data = text
	}
	if first, _, _ := strings.Cut(string(l.Data), "\n"); isDelimiter(first) {
		r.fail(l, 1, 1, "MIME: a boundary, but no headers before it",
			`begin with "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=..." and an empty line`)
		return nil, KindMIME
	}
	layers, others := r.entity(l, "", depth)
	if len(layers) == 0 && others > 0 && len(r.problems.Errors()) == 0 {
		return nil, KindScript // all parts are for cloud-init
	}
	return layers, KindMIME
}

// entity reads one part (part is "" for the whole message) and says how many parts in it are not ours.
func (r *reader) entity(l Layer, part string, depth int) (layers []Layer, others int) {
	e := splitHeaders(l)
	kind, boundary := e.contentType()
	says := func(text string) string {
		if part == "" {
			return "MIME: " + text
		}
		return "MIME " + part + ": " + text
	}
	switch {
	case strings.HasPrefix(kind, "multipart/"):
		if e.broken > 0 {
			r.fail(l, e.broken, 1, says("no empty line after the headers"), "put an empty line before this one")
			return nil, 0
		}
		if depth >= maxNesting {
			r.fail(l, 1, 1, says(fmt.Sprintf("multiparts nested more than %d deep", maxNesting)), "use one multipart with all parts")
			return nil, 0
		}
		return r.multipart(e, boundary, says, depth)
	case kind == PartType:
		if layer, ok := r.leaf(l, e, part, says); ok {
			return []Layer{layer}, 0
		}
		return nil, 0
	case strings.Contains(kind, "rekindle"):
		r.fail(l, e.lines["content-type"], 1, says("unknown content type "+quote(kind)), "write Content-Type: "+PartType)
		return nil, 0
	case bytes.Contains(bytes.ToLower(l.Data), []byte("vnd.rekindle+yaml")) && e.headers["content-type"] == "":
		r.fail(l, 1, 1, says("its headers do not follow the boundary line"), "remove what stands before Content-Type, empty lines too")
		return nil, 0
	case e.headers["content-type"] == "":
		p := Problem{Message: says("no Content-Type, so the part is ignored"), Remedy: "write Content-Type: " + PartType + " and an empty line first, if it is configuration", Warning: true}
		r.problems = append(r.problems, newSource(l).at(1, 1, p))
	}
	return nil, 1
}

// splitHeaders reads the header lines up to the empty line. Without one, the body begins at the line that is no header.
func splitHeaders(l Layer) entity {
	e := entity{headers: map[string]string{}, lines: map[string]int{}, body: l}
	rest, n, last := l.Data, 0, ""
	for len(rest) > 0 {
		raw, after, _ := bytes.Cut(rest, []byte("\n"))
		line := strings.TrimRight(string(raw), " \t\r")
		n++
		if line == "" {
			e.closed = true
			rest = after
			break
		}
		if folded(line) && last != "" {
			e.headers[last] += " " + strings.TrimSpace(line)
			rest = after
			continue
		}
		if !header.MatchString(line) {
			e.broken = n
			n--
			break
		}
		name, value, _ := strings.Cut(line, ":")
		last = strings.ToLower(name)
		if _, twice := e.headers[last]; !twice {
			e.headers[last], e.lines[last] = strings.TrimSpace(value), n
		}
		rest = after
	}
	e.body.Data, e.body.skip = rest, l.skip+n
	return e
}

var boundaryParam = regexp.MustCompile(`(?i);\s*boundary\s*=\s*("([^"]*)"|[^;\s]+)`)

// contentType is the media type in lower case, and the boundary. A boundary with characters that should be quoted
// and are not (`boundary====x`) is taken as cloud-init takes it.
func (e entity) contentType() (kind, boundary string) {
	text := e.headers["content-type"]
	if kind, params, err := mime.ParseMediaType(text); err == nil {
		return kind, params["boundary"]
	}
	kind, _, _ = strings.Cut(text, ";")
	if m := boundaryParam.FindStringSubmatch(text); m != nil {
		boundary = strings.Trim(m[1], `"`)
	}
	return strings.ToLower(strings.TrimSpace(kind)), boundary
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

// leaf is a part of configuration: decoded, and a YAML document.
func (r *reader) leaf(l Layer, e entity, part string, says func(string) string) (Layer, bool) {
	broken := e.broken
	for name, n := range e.lines {
		// `cluster: NAME` right under the headers looks like one of them.
		if !strings.HasPrefix(name, "content-") && !strings.HasPrefix(name, "x-") && name != "mime-version" && part != "" && (broken == 0 || n < broken) {
			broken = n
		}
	}
	if broken > 0 {
		r.fail(l, broken, 1, says("no empty line between its headers and its content"), "put an empty line before this one")
		return l, false
	}
	body := e.body
	body.Name = strings.TrimSpace(r.file + " " + part)
	if name := e.filename(); name != "" {
		body.Name += " (" + clip(name, 60) + ")"
	}
	encoding := strings.ToLower(e.headers["content-transfer-encoding"])
	var data []byte
	var err error
	switch encoding {
	case "", "7bit", "8bit", "binary":
	case "base64":
		data, err = decode64(body.Data)
	case "quoted-printable":
		data, err = io.ReadAll(io.LimitReader(quotedprintable.NewReader(bytes.NewReader(body.Data)), maxLayer+1))
	default:
		err = fmt.Errorf("unknown encoding")
	}
	if err != nil {
		r.fail(l, e.lines["content-transfer-encoding"], 1, says("Content-Transfer-Encoding "+quote(encoding)+": "+err.Error()),
			"encode it again, or send plain text (8bit)")
		return l, false
	}
	if data != nil {
		body.file = body.Name
		body = decoded(body, data)
	}
	wrapped := body.file
	body, ok := r.unwrap(body)
	if !ok {
		return l, false
	}
	if body.file != wrapped {
		body.file = body.Name + " (decoded)"
	}
	switch kind := detect(body.Data); kind {
	case KindYAML, KindNone, "":
		return body, true // what is no YAML is reported by the decoder
	default:
		r.fail(body, 1, 1, says("want YAML, got "+kind.what()), "write YAML, or give the part the content type of what it is")
		return l, false
	}
}

func (e entity) filename() string {
	_, params, err := mime.ParseMediaType(e.headers["content-disposition"])
	if err != nil {
		return ""
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, params["filename"])
}

func (k Kind) what() string {
	switch k {
	case KindEnv:
		return "KEY=VALUE lines"
	case KindMIME:
		return "another MIME message"
	case KindScript:
		return "a script or cloud-config"
	}
	return string(k)
}
