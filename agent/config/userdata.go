package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// Kind is the outer form of user-data.
type Kind string

// The forms of user-data.
const (
	KindNone   Kind = "none"   // empty, or nothing but comments
	KindYAML   Kind = "yaml"   // one document
	KindMIME   Kind = "mime"   // parts of type application/vnd.rekindle+yaml
	KindEnv    Kind = "env"    // KEY=VALUE lines
	KindScript Kind = "script" // for cloud-init; configuration may come through `rekindle up`
)

// maxUserData is EC2's limit for user-data, before base64.
const maxUserData = 16384

// UserData takes user-data apart into layers, lowest first, and names its form. The form is found in this order, each
// step by a property that excludes those after it:
//
//  1. nothing but white space: none
//  2. gzip's magic bytes: decompressed, then again from 1
//  3. `#!`, `#cloud-config` and cloud-init's other first lines: script
//  4. header lines with MIME-Version or Content-Type before the first empty line, or a boundary line first: mime
//  5. nothing but base64's alphabet: decoded, then again from 1
//  6. the first line that is no comment is NAME=VALUE: env
//  7. the first line that is no comment begins a YAML mapping: yaml
//
// Anything else is an error that says so. Problems may be warnings only; layers that could be read come with errors of
// others, so that all mistakes can be reported together.
func UserData(data []byte) ([]Layer, Kind, Problems) { return readUserData("user-data", data) }

// Read is UserData for text that the operator knows by another name: a file, standard input.
func Read(name string, data []byte) ([]Layer, Kind, Problems) { return readUserData(name, data) }

func readUserData(name string, data []byte) ([]Layer, Kind, Problems) {
	r := reader{file: name}
	if len(data) > maxUserData {
		r.problems = append(r.problems, Problem{File: name, Warning: true,
			Message: fmt.Sprintf("%d bytes; EC2 accepts at most %d", len(data), maxUserData),
			Remedy:  "move what all nodes share into cluster.yaml in the store, and large files into objects named with `from:`; gzip helps too"})
	}
	layers, kind := r.read(Layer{Name: name, Data: data, file: name}, 0)
	return layers, kind, r.problems.sorted()
}

// reader collects problems over the nested forms.
type reader struct {
	file     string
	problems Problems
	parts    int // numbers the parts across nesting, in order of appearance
}

func (r *reader) fail(l Layer, line, column int, message, remedy string) {
	r.problems = append(r.problems, newSource(l).at(line, column, Problem{Message: message, Remedy: remedy}))
}

// read takes one form off l, and the next, until layers are left.
func (r *reader) read(l Layer, depth int) ([]Layer, Kind) {
	l, ok := r.unwrap(l)
	if !ok {
		return nil, KindNone
	}
	if late := bytes.TrimLeft(l.Data, " \t\r\n"); len(late) < len(l.Data) && detect(late) == KindScript {
		r.fail(l, bytes.Count(l.Data[:len(l.Data)-len(late)], []byte("\n"))+1, 1, "blanks or empty lines before the first line of a script",
			"remove them: cloud-init looks at the very first bytes")
		return nil, KindNone
	}
	switch kind := detect(l.Data); kind {
	case "":
		r.unclear(l)
		return nil, KindNone
	case KindMIME:
		return r.mime(l, depth)
	case KindEnv:
		return r.lines(l), KindEnv
	case KindYAML:
		return []Layer{l}, KindYAML
	default:
		return nil, kind
	}
}

// scripts are the first lines that cloud-init acts on.
var scripts = []string{"#!", "#cloud-config", "#cloud-boothook", "#include", "#part-handler", "#upstart-job", "## template:"}

var (
	header   = regexp.MustCompile(`^[!-9;-~]+:`)
	envLine  = regexp.MustCompile(`^[ \t]*(export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*=`)
	yamlLine = regexp.MustCompile(`^([ \t]*[{\[]|---|%|- |[ \t]*(<<|[?*&!]|"[^"]*"|'[^']*'|[^\s#=:<\[{][^#=:]*)[ \t]*:([ \t]|$)|[ \t]*[?*&!])`)
)

// detect names the form of data that is neither compressed nor encoded; "" when it is none of them.
func detect(data []byte) Kind {
	if len(bytes.TrimSpace(data)) == 0 {
		return KindNone
	}
	for _, first := range scripts {
		if bytes.HasPrefix(data, []byte(first)) {
			return KindScript
		}
	}
	if isMIME(data) {
		return KindMIME
	}
	for line := range bytes.Lines(data) {
		text := strings.TrimRight(string(line), " \t\r\n")
		switch trimmed := strings.TrimLeft(text, " \t"); {
		case trimmed == "" || trimmed[0] == '#':
			continue
		case envLine.MatchString(text):
			return KindEnv
		case yamlLine.MatchString(text):
			return KindYAML
		}
		return ""
	}
	return KindNone
}

// unclear reports user-data of no known form, with what was looked for.
func (r *reader) unclear(l Layer) {
	if _, bad := newSource(l).text(l.Data); bad != nil {
		r.problems = append(r.problems, *bad)
		return
	}
	text := string(l.Data)
	n := 0
	for line := range strings.Lines(text) {
		n++
		if t := strings.TrimSpace(line); t != "" && t[0] != '#' {
			r.fail(l, n, 1, "neither YAML (`key: value`), KEY=VALUE lines, MIME multipart, gzip, base64, a script (#!) nor cloud-config: "+quote(t),
				"write YAML, for instance `cluster: NAME`, or see docs/config.md for the other forms")
			return
		}
	}
}
