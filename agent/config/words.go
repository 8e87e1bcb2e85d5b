package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// describe names what the operator wrote.
func describe(n *yaml.Node) string {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "the boolean " + n.Value
	case "!!int", "!!float":
		return "the number " + clip(n.Value, 40)
	case "!!str", "!!timestamp":
		return "the text " + quote(n.Value)
	default:
		return "the tag " + clip(tag, 40)
	}
}

// quote shows what the operator wrote, shortened, and never a secret.
func quote(text string) string {
	if secret(text) != "" {
		return "(a secret)"
	}
	return strconv.Quote(clip(text, 60))
}

// join appends a key to a path: `.key`, or `["a.key"]` where a dot would be ambiguous.
func join(path, key string) string {
	key = clip(key, 120)
	plain := key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return !(r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	})
	switch {
	case !plain:
		return fmt.Sprintf("%s[%q]", path, key)
	case path == "":
		return key
	}
	return path + "." + key
}
