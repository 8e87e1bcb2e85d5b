package config

import (
	"bytes"
	"fmt"
	"mime"
	"regexp"
	"strings"
)

// entity is a part, or the whole message: its headers and its body.
type entity struct {
	headers map[string]string // by lower-case name
	lines   map[string]int    // where each header stands
	body    Layer
	broken  int // the line that is neither a header nor empty, 0 when all is well
	closed  bool
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
