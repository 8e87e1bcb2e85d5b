package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
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
	switch quote := text[0]; quote {
	case '\'', '"':
		var b strings.Builder
		for i := 1; i < len(text); i++ {
			switch c := text[i]; {
			case c == quote:
				if rest := strings.TrimSpace(text[i+1:]); rest != "" && rest[0] != '#' {
					return "", "text after the closing quote", "put the whole value between quotes"
				}
				return b.String(), "", ""
			case c == '\\' && quote == '"' && i+1 < len(text) && strings.IndexByte("\"\\$`", text[i+1]) >= 0:
				i++
				b.WriteByte(text[i])
			case quote == '"' && (c == '`' || c == '$' && expands(text[i:])):
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

// older are the names with a field of their own.
var older = map[string]string{
	"ENVIRONMENT":        "environment",
	"CLUSTER":            "cluster",
	"CLUSTER_NAME":       "cluster",
	"ROLE":               "role",
	"ZONE_ID":            "discovery.zoneID",
	"KUBERNETES_VERSION": "kubernetes.version",
	"REGION":             "aws.region",
	"AWS_REGION":         "aws.region",
	"API_ENDPOINT":       "kubernetes.apiEndpoint",
	"ETCD_VERSION":       "etcd.version",
	"STORE":              "store",
	"STORE_URL":          "store",
}

var numbered = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.-]+)?$`)

// translate makes the YAML tree that says the same, each node at the place of its line.
func (r *reader) translate(l Layer, all []assignment) *yaml.Node {
	t := tree{root: &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: 1}}
	by := map[string]assignment{}
	for _, a := range all {
		by[a.name] = a
	}
	for _, a := range all {
		path, known := older[a.name]
		switch {
		case a.value == "" && known: // an empty variable of a template is an absent one
		case known:
			if !t.set(path, a, normal(path, a.value)) {
				r.fail(l, a.line, a.column, a.name+": "+path+" is set by an earlier line", "keep one of them")
			}
		case a.name == "KUBERNETES_RELEASE":
			// The name of a release's directory in older stores; where it is a version, it is the version.
			t.set("env."+a.name, a, a.value)
			switch {
			case by["KUBERNETES_VERSION"].value != "":
			case numbered.MatchString(a.value):
				t.set("kubernetes.version", a, strings.TrimPrefix(a.value, "v"))
			default:
				r.warn(l, a, a.name+" is no version, so it is only exported to scripts", "set KUBERNETES_VERSION")
			}
		case isBucket(a.name) && a.value != "":
			t.set("env."+a.name, a, a.value)
			if by["STORE"].value == "" && by["STORE_URL"].value == "" {
				t.set("store", a, storeOf(a.value, by))
			}
		case isPrefix(a.name):
			t.set("env."+a.name, a, a.value)
		default:
			t.set("env."+a.name, a, a.value)
			r.warn(l, a, a.name+" has no field of its own, so it is only exported to scripts and templates",
				"remove it if nothing reads it, or see the KEY=VALUE table in docs/config.md")
		}
	}
	return t.root
}

func (r *reader) warn(l Layer, a assignment, message, remedy string) {
	r.problems = append(r.problems, newSource(l).at(a.line, a.column, Problem{Message: message, Remedy: remedy, Warning: true}))
}

func isBucket(name string) bool {
	return name == "ASSETS_BUCKET" || name == "S3_BUCKET" || name == "BUCKET"
}
func isPrefix(name string) bool {
	return name == "ASSETS_PREFIX" || name == "S3_PREFIX" || name == "PREFIX"
}

// storeOf joins a bucket, with or without its scheme, and the prefix that may stand beside it.
func storeOf(bucket string, by map[string]assignment) string {
	store := "s3://" + strings.Trim(strings.TrimPrefix(bucket, "s3://"), "/")
	for _, name := range []string{"ASSETS_PREFIX", "S3_PREFIX", "PREFIX"} {
		if prefix := strings.Trim(by[name].value, "/"); prefix != "" {
			return store + "/" + prefix
		}
	}
	return store
}

// normal is the value as the field wants it: versions without a v, an endpoint as a URL.
func normal(path, value string) string {
	switch path {
	case "kubernetes.version", "etcd.version":
		if numbered.MatchString(value) {
			return strings.TrimPrefix(value, "v")
		}
	case "kubernetes.apiEndpoint":
		if strings.Contains(value, "://") {
			return value
		}
		if !strings.Contains(value, ":") {
			value += ":6443"
		}
		return "https://" + value
	case "discovery.zoneID":
		return strings.TrimPrefix(value, "/hostedzone/")
	}
	return value
}

// tree builds a YAML tree by dotted path.
type tree struct{ root *yaml.Node }

// set puts a value at path; false when there is one already.
func (t tree) set(path string, a assignment, value string) bool {
	n := t.root
	names := strings.Split(path, ".")
	for i, name := range names {
		var next *yaml.Node
		for j := 0; j < len(n.Content); j += 2 {
			if n.Content[j].Value == name {
				next = n.Content[j+1]
			}
		}
		last := i == len(names)-1
		if last && next != nil {
			return false
		}
		if next == nil {
			key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name, Line: a.line, Column: a.column}
			next = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: a.line, Column: a.column}
			if last {
				next = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Style: yaml.DoubleQuotedStyle, Line: a.line, Column: a.valueC}
			}
			n.Content = append(n.Content, key, next)
		}
		n = next
	}
	return true
}
