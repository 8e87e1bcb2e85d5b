package config

import (
	"strconv"

	"go.yaml.in/yaml/v4"
)

type pair struct{ key, value *yaml.Node }

// pairs are the entries of a mapping, merge keys (`<<`) resolved, each key once.
func (d *decoder) pairs(n *yaml.Node, p place) ([]pair, bool) {
	if n.Kind != yaml.MappingNode {
		d.report(n, p.path, "want a mapping, got "+describe(n), "write `key: value` lines under it, indented by two spaces")
		return nil, false
	}
	var out, merged []pair
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.ShortTag() == "!!merge":
			merged = append(merged, d.merged(value, p)...)
		case key.Kind != yaml.ScalarNode:
			d.report(key, p.path, "a key that is "+describe(key), "write the key as text")
		case seen[key.Value] > 0:
			d.report(key, join(p.path, key.Value), "duplicate key "+quote(key.Value)+", first on line "+
				strconv.Itoa(seen[key.Value]+d.source.skip), "keep one of them")
		default:
			seen[key.Value] = key.Line
			out = append(out, pair{key, value})
		}
	}
	for _, m := range merged {
		if seen[m.key.Value] == 0 {
			seen[m.key.Value] = m.key.Line
			out = append(out, m)
		}
	}
	return out, true
}

// merged are the entries that a merge key brings: of one mapping, or of several, the earlier ones winning.
func (d *decoder) merged(n *yaml.Node, p place) []pair {
	p.depth++
	at := n
	if n = d.spend(n, p); n == nil {
		return nil
	}
	var out []pair
	switch n.Kind {
	case yaml.MappingNode:
		out, _ = d.pairs(n, p)
	case yaml.SequenceNode:
		for _, item := range n.Content {
			out = append(out, d.merged(item, p)...)
		}
	default:
		d.report(at, p.path, "a merge key (<<) with "+describe(n), "merge a mapping, or a list of mappings")
	}
	return out
}
