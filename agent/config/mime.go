package config

import (
	"bytes"
	"fmt"
	"io"
	"mime/quotedprintable"
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
