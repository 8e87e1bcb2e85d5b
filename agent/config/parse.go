package config

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxLayer bounds one layer, decoded: what is larger is no configuration.
const maxLayer = 1 << 20

// parse reads exactly one YAML document. It gives nil for an empty one.
func (s *source) parse(data []byte) (*yaml.Node, Problems) {
	if len(data) > maxLayer {
		return nil, Problems{s.at(0, 0, Problem{Message: "larger than 1 MiB",
			Remedy: "publish large files in the store and name them with `from:`"})}
	}
	data, bad := s.text(data)
	if bad != nil {
		return nil, Problems{*bad}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, Problems{s.syntax(err)}
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, Problems{s.syntax(err)}
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, Problems{s.syntax(err)}
	default:
		return nil, Problems{s.at(second.Line, second.Column, Problem{Message: "a second YAML document begins",
			Remedy: "keep one document; several parts can be merged as parts of a MIME multipart"})}
	}
	if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
		return nil, nil
	}
	return doc.Content[0], nil
}

// syntax turns the parser's first error into a problem with a remedy.
func (s *source) syntax(err error) Problem {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return s.at(0, 0, Problem{Message: "not YAML: " + err.Error(), Remedy: "correct the syntax"})
	}
	p := Problem{Message: "not YAML: " + e.Message, Remedy: "check the indentation and the quotes of this line and the one before"}
	if e.ContextMsg != "" {
		p.Message += " " + e.ContextMsg
	}
	line, column := e.Mark.Line, e.Mark.Column
	// At the end of the stream the place where the open thing began says more.
	if e.ContextMark.Line > 0 && line >= len(s.lines) {
		line, column = e.ContextMark.Line, e.ContextMark.Column
	}
	text := ""
	if line > 0 && line <= len(s.lines) {
		text = s.lines[line-1]
	}
	switch first := strings.TrimLeft(text, " "); {
	case strings.HasPrefix(first, "\t"):
		p.Message, p.Remedy = "a tab indents the line", "indent with spaces"
	case strings.HasPrefix(first, "%"):
		p.Remedy = "remove the line"
	case strings.Contains(e.Message, "mapping values are not allowed"):
		p.Remedy = "quote the value when it contains a colon and a space, or correct the indentation"
	case strings.Contains(e.Message, "cannot start any token"):
		p.Remedy = "quote the value"
	case strings.Contains(e.Message, "unknown anchor"):
		p.Remedy = "define the anchor before it is used, or quote the value"
	}
	return s.at(line, column, p)
}
