package config

import (
	"math"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

// text takes a string. A field of its own must be written as one, since 1.30 and 0644 mean something else to every
// other reader of YAML; in a mapping of strings (labels, flags, sysctls) the value is taken as it is written.
func (d *decoder) text(n *yaml.Node, p place) bool {
	if n.Kind != yaml.ScalarNode {
		d.report(n, p.path, "want text, got "+describe(n), "write one value")
		return false
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
	case "!!bool", "!!int", "!!float":
		if !p.loose {
			d.report(n, p.path, "want text, got "+describe(n), `quote it: "`+n.Value+`"`)
			return false
		}
	default:
		d.report(n, p.path, "want text, got "+describe(n), "remove the tag")
		return false
	}
	p.into.SetString(n.Value)
	return true
}

func (d *decoder) optional(n *yaml.Node, p place) bool {
	if d.isNull(n) {
		p.into.SetZero()
		return true
	}
	inner := p
	inner.into = reflect.New(p.into.Type().Elem()).Elem()
	if !d.text(n, inner) {
		return false
	}
	p.into.Set(inner.into.Addr())
	return true
}

func (d *decoder) boolean(n *yaml.Node, p place) bool {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		d.report(n, p.path, "want true or false, got "+describe(n), "write true or false, without quotes")
		return false
	}
	p.into.SetBool(n.Value[0] == 't' || n.Value[0] == 'T')
	return true
}

var decimal = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)

func (d *decoder) integer(n *yaml.Node, p place) bool {
	whole := n.Kind == yaml.ScalarNode && n.ShortTag() == "!!float" && decimal.MatchString(n.Value) // too large for the library
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" && !whole {
		d.report(n, p.path, "want a whole number, got "+describe(n), "write digits only, without quotes or unit")
		return false
	}
	if !decimal.MatchString(n.Value) {
		// 010 is ten to some readers of YAML and eight to others.
		d.report(n, p.path, "want a decimal number, got "+describe(n), "write it in decimal, without leading zeros or underscores")
		return false
	}
	v, err := strconv.ParseInt(n.Value, 10, p.into.Type().Bits())
	if err != nil {
		d.report(n, p.path, "the number "+clip(n.Value, 40)+" is out of range", "write one of fewer digits")
		return false
	}
	p.into.SetInt(v)
	return true
}

func (d *decoder) duration(n *yaml.Node, p place) bool {
	if n.Kind != yaml.ScalarNode {
		d.report(n, p.path, "want a duration, got "+describe(n), "write for instance 30s, 5m or 1h30m")
		return false
	}
	v, err := time.ParseDuration(n.Value)
	switch {
	case n.ShortTag() == "!!int" || n.ShortTag() == "!!float":
		d.report(n, p.path, "the duration "+clip(n.Value, 40)+" has no unit", "add one: "+clip(n.Value, 40)+"s")
		return false
	case err != nil:
		d.report(n, p.path, "want a duration, got "+describe(n), "write for instance 30s, 5m or 1h30m; the units are ms, s, m and h")
		return false
	}
	p.into.SetInt(int64(v))
	return true
}

// free decodes what has no schema here: a pod, a patch, kubelet configuration. Null is a value there, because it
// means something to whoever reads it.
func (d *decoder) free(n *yaml.Node, p place) bool {
	switch {
	case n.Kind == yaml.MappingNode:
		pairs, _ := d.pairs(n, p)
		out, ok := p.into.Interface().(map[string]any)
		if !ok {
			d.forget(p.path)
			out = make(map[string]any, len(pairs))
		}
		m := place{into: reflect.ValueOf(out), path: p.path, depth: p.depth}
		for _, pair := range pairs {
			child := place{into: reflect.New(reflect.TypeFor[any]()).Elem(), path: join(p.path, pair.key.Value), key: pair.key, depth: p.depth + 1}
			if old, ok := out[pair.key.Value]; ok && old != nil {
				child.into.Set(reflect.ValueOf(old))
			}
			if d.value(pair.value, child) {
				m.into.SetMapIndex(reflect.ValueOf(pair.key.Value), child.into)
			}
		}
		p.into.Set(m.into)
		return true
	case n.Kind == yaml.SequenceNode:
		d.forget(p.path)
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			child := place{into: reflect.ValueOf(&out[i]).Elem(), path: at(p.path, i), depth: p.depth + 1}
			d.value(item, child)
		}
		p.into.Set(reflect.ValueOf(out))
		return true
	}
	v, ok := d.plain(n, p)
	if !ok {
		return false
	}
	d.forget(p.path)
	if v == nil {
		p.into.SetZero()
	} else {
		p.into.Set(reflect.ValueOf(v))
	}
	return true
}

// plain is a scalar as the types that JSON has.
func (d *decoder) plain(n *yaml.Node, p place) (any, bool) {
	switch n.ShortTag() {
	case "!!null":
		return nil, true
	case "!!str", "!!timestamp":
		return n.Value, true
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Load(&v); err != nil {
			d.report(n, p.path, "want a value, got "+describe(n), "quote it")
			return nil, false
		}
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			d.report(n, p.path, "not a number that JSON knows", "write a finite number, or quote it")
			return nil, false
		}
		return v, true
	}
	d.report(n, p.path, "want a value, got "+describe(n), "remove the tag")
	return nil, false
}
