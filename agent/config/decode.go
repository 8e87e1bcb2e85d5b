package config

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"
)

// The decoder walks the YAML tree itself instead of leaving it to the library, because only so can it report every
// mistake with path, position and remedy, merge layers, and remember which layer set what.
type decoder struct {
	source   *source
	origins  map[string]Origin
	problems Problems
	set      bool // the layer set something

	// An alias is expanded where it stands; these keep a few lines from becoming gigabytes.
	nodes, bytes int
	exhausted    bool
}

const (
	maxNodes = 50_000
	maxBytes = 4 << 20
	maxDepth = 64
)

// place is where a value goes: its field, what null resets it to, and its name.
type place struct {
	into, reset reflect.Value
	path        string
	key         *yaml.Node
	depth       int
	loose       bool // an entry of a mapping: text may be written as a number
}

func (d *decoder) layer(root *yaml.Node, c *Config) {
	if root.Kind != yaml.MappingNode {
		d.report(root, "", "want a mapping of fields, got "+describe(root), "begin with a field, for instance `cluster: NAME`")
		return
	}
	d.value(root, place{into: reflect.ValueOf(c).Elem(), reset: reflect.ValueOf(Default()).Elem()})
}

func (d *decoder) report(n *yaml.Node, path, message, remedy string) {
	d.problems = append(d.problems, d.source.at(n.Line, n.Column, Problem{Path: path, Message: message, Remedy: remedy}))
}

// spend resolves an alias and counts the node against the limits; nil means that it went over them.
func (d *decoder) spend(n *yaml.Node, p place) *yaml.Node {
	at := n
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.nodes++
	d.bytes += len(n.Value)
	switch {
	case d.exhausted:
		return nil
	case p.depth > maxDepth:
		d.report(at, clip(p.path, 80), "nested more than 64 deep, or an alias that contains itself", "write it out")
	case d.nodes > maxNodes || d.bytes > maxBytes:
		d.report(at, clip(p.path, 80), "too much: aliases expand to more than 50,000 values or 4 MiB", "write it out without aliases")
	default:
		return n
	}
	d.exhausted = true
	return nil
}

// value decodes n into its place. What is wrong is reported and leaves the place as it was.
func (d *decoder) value(n *yaml.Node, p place) bool {
	at := n
	if n = d.spend(n, p); n == nil {
		return false
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && p.into.Kind() != reflect.Pointer && p.into.Kind() != reflect.Interface {
		d.forget(p.path)
		if p.reset.IsValid() {
			p.into.Set(p.reset)
		} else {
			p.into.SetZero()
		}
		d.remember(at, p)
		return true
	}
	ok := false
	switch kind := p.into.Kind(); {
	case p.into.Type() == reflect.TypeFor[time.Duration]():
		ok = d.duration(n, p)
	case kind == reflect.Struct:
		ok = d.structure(n, p)
	case kind == reflect.Map:
		ok = d.mapping(n, p)
	case kind == reflect.Slice:
		ok = d.list(n, p)
	case kind == reflect.Pointer: // *string: null is a value, not a reset
		ok = d.optional(n, p)
	case kind == reflect.Interface:
		ok = d.free(n, p)
	case kind == reflect.String:
		ok = d.text(n, p)
	case kind == reflect.Bool:
		ok = d.boolean(n, p)
	case kind == reflect.Int || kind == reflect.Int64:
		ok = d.integer(n, p)
	default:
		panic("config: a field of type " + p.into.Type().String() + " at " + p.path + " has no decoder")
	}
	if ok {
		d.remember(at, p)
	}
	return ok
}

func (d *decoder) remember(n *yaml.Node, p place) {
	if p.path == "" {
		return
	}
	d.set = true
	s := d.source
	o := Origin{Layer: s.layer, File: s.file, Line: n.Line + s.skip, Column: n.Column, source: s, line: n.Line, column: n.Column,
		keyLine: n.Line, keyColumn: n.Column, null: d.isNull(n)}
	if p.key != nil {
		o.keyLine, o.keyColumn = p.key.Line, p.key.Column
	}
	d.origins[p.path] = o
}

// forget drops what is known of a value that is about to be replaced.
func (d *decoder) forget(path string) {
	if _, ok := d.origins[path]; ok {
		maps.DeleteFunc(d.origins, func(k string, _ Origin) bool { return under(k, path) })
	}
}

func (d *decoder) structure(n *yaml.Node, p place) bool {
	pairs, ok := d.pairs(n, p)
	if !ok {
		return false
	}
	fields := fieldsOf(p.into.Type())
	for _, pair := range pairs {
		name := pair.key.Value
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			d.report(pair.key, join(p.path, name), "unknown key "+quote(name), suggest(name, p.path, fields))
			continue
		}
		child := place{into: p.into.Field(fields[i].index), path: join(p.path, name), key: pair.key, depth: p.depth + 1}
		if p.reset.IsValid() {
			child.reset = p.reset.Field(fields[i].index)
		}
		d.value(pair.value, child)
	}
	return true
}

func (d *decoder) mapping(n *yaml.Node, p place) bool {
	pairs, ok := d.pairs(n, p)
	if !ok {
		return false
	}
	if p.into.IsNil() {
		p.into.Set(reflect.MakeMap(p.into.Type()))
	}
	elem := p.into.Type().Elem()
	for _, pair := range pairs {
		key := reflect.ValueOf(pair.key.Value)
		child := place{into: reflect.New(elem).Elem(), path: join(p.path, pair.key.Value), key: pair.key, depth: p.depth + 1, loose: true}
		if old := p.into.MapIndex(key); old.IsValid() {
			child.into.Set(old)
		}
		if elem.Kind() != reflect.Interface && elem.Kind() != reflect.Pointer && d.isNull(pair.value) {
			d.forget(child.path)
			delete(d.origins, child.path)
			p.into.SetMapIndex(key, reflect.Value{})
			d.set = true
			continue
		}
		if d.value(pair.value, child) {
			p.into.SetMapIndex(key, child.into)
		}
	}
	return true
}

func (d *decoder) isNull(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func (d *decoder) list(n *yaml.Node, p place) bool {
	if n.Kind != yaml.SequenceNode {
		remedy := "write a list: `- ITEM` on a line of its own"
		if n.Kind == yaml.ScalarNode {
			remedy = "write it as a list: [" + clip(n.Value, 40) + "]"
		}
		d.report(n, p.path, "want a list, got "+describe(n), remedy)
		return false
	}
	d.forget(p.path)
	out := reflect.MakeSlice(p.into.Type(), 0, len(n.Content))
	for i, item := range n.Content {
		child := place{into: reflect.New(p.into.Type().Elem()).Elem(), path: at(p.path, i), depth: p.depth + 1}
		if d.isNull(item) {
			d.report(item, child.path, "empty item", "remove it, or give it a value")
			continue
		}
		d.value(item, child)
		// An item that is wrong keeps its place, so that those behind it keep their numbers.
		out = reflect.Append(out, child.into)
	}
	p.into.Set(out)
	return true
}
