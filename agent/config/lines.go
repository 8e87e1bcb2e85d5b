package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// assignment is one NAME=VALUE line.
type assignment struct {
	name, value    string
	line           int
	column, valueC int // of the name and of the value
}

var assign = regexp.MustCompile(`^([ \t]*(?:export[ \t]+)?)([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// lines reads the older NAME=VALUE form: comments, `export`, quotes as a shell has them, but nothing is expanded.
func (r *reader) lines(l Layer) []Layer {
	data, bad := newSource(l).text(l.Data)
	if bad != nil {
		r.problems = append(r.problems, *bad)
		return nil
	}
	var all []assignment
	first := map[string]int{}
	n := 0
	for raw := range strings.Lines(string(data)) {
		n++
		line := strings.TrimRight(raw, " \t\r\n")
		if t := strings.TrimLeft(line, " \t"); t == "" || t[0] == '#' {
			continue
		}
		m := assign.FindStringSubmatch(line)
		if m == nil {
			r.fail(l, n, 1, "neither NAME=VALUE nor a comment", "the first line makes this the KEY=VALUE form; write all of it so, or all of it as YAML")
			continue
		}
		a := assignment{name: m[2], line: n, column: utf8.RuneCountInString(m[1]) + 1}
		a.valueC = a.column + len(m[2]) + 1
		value, problem, remedy := unquote(m[3])
		switch {
		case problem != "":
			r.fail(l, n, a.valueC, a.name+": "+problem, remedy)
			continue
		case first[a.name] > 0:
			r.fail(l, n, a.column, fmt.Sprintf("%s is set twice, first on line %d", a.name, first[a.name]+l.skip), "keep one of them")
			continue
		}
		a.value, first[a.name] = value, n
		all = append(all, a)
	}
	l.root = r.translate(l, all)
	return []Layer{l}
}

// unquote reads the value of an assignment; problem says what a shell would do that is not done here.
func unquote(text string) (value, problem, remedy string) {
	text = strings.TrimLeft(text, " \t")
	if text == "" {
		return "", "", ""
	}
	switch mark := text[0]; mark {
	case '\'', '"':
		var b strings.Builder
		for i := 1; i < len(text); i++ {
			switch c := text[i]; {
			case c == mark:
				if rest := strings.TrimSpace(text[i+1:]); rest != "" && rest[0] != '#' {
					return "", "text after the closing quote", "put the whole value between quotes"
				}
				return b.String(), "", ""
			case c == '\\' && mark == '"' && i+1 < len(text) && strings.IndexByte("\"\\$`", text[i+1]) >= 0:
				i++
				b.WriteByte(text[i])
			case mark == '"' && (c == '`' || c == '$' && expands(text[i:])):
				return "", "the shell's expansion is not available here", "write the value itself, or put it between single quotes"
			default:
				b.WriteByte(c)
			}
		}
		return "", "a quote is not closed", "close it on the same line"
	}
	if i := strings.Index(text, " #"); i >= 0 {
		text = strings.TrimRight(text[:i], " \t")
	} else if text[0] == '#' {
		return "", "", ""
	}
	switch {
	case strings.HasSuffix(text, `\`):
		return "", "a line cannot be continued", "write the value on one line"
	case strings.ContainsRune(text, '`'), strings.Contains(text, "$") && expands(text[strings.IndexByte(text, '$'):]):
		return "", "the shell's expansion is not available here", "write the value itself, or put it between single quotes"
	case strings.ContainsAny(text, " \t\"'"):
		return "", "a blank or a quote in a value without quotes", "put the value between quotes"
	}
	return text, "", ""
}

func expands(text string) bool {
	return len(text) > 1 && (text[1] == '(' || text[1] == '{' || text[1] == '_' || text[1] >= 'a' && text[1] <= 'z' || text[1] >= 'A' && text[1] <= 'Z')
}
