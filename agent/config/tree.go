package config

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

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
