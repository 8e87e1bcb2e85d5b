package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

type field struct {
	name  string
	index int
}

// fieldsOf are the keys that a struct of the schema accepts.
func fieldsOf(t reflect.Type) []field {
	out := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			out = append(out, field{name, i})
		}
	}
	return out
}

// Paths are all fields of the schema, dotted; lists are marked "[]" and mappings with free keys ".*":
// "kubernetes.serviceCIDRs[]", "files[].path", "node.labels.*".
func Paths() []string {
	var out []string
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		switch t.Kind() {
		case reflect.Struct:
			for _, f := range fieldsOf(t) {
				name := f.name
				if path != "" {
					name = path + "." + name
				}
				walk(t.Field(f.index).Type, name)
			}
			return
		case reflect.Slice:
			if t.Elem().Kind() == reflect.Struct {
				out = append(out, path+"[]")
			}
			walk(t.Elem(), path+"[]")
			return
		case reflect.Map:
			out = append(out, path+".*")
			if t.Elem().Kind() == reflect.Struct {
				walk(t.Elem(), path+".*")
			}
			return
		}
		out = append(out, path)
	}
	walk(reflect.TypeFor[Config](), "")
	return out
}

// suggest is the remedy for an unknown key: another spelling here, else the same name elsewhere in the schema, else
// what is accepted here.
func suggest(name, path string, fields []field) string {
	best, distance := "", 3
	for _, f := range fields {
		if fold(f.name) == fold(name) {
			return "did you mean " + f.name + "? Keys are case-sensitive"
		}
		if n := Edits(fold(f.name), fold(name)); n < min(distance, len(f.name)/2+1) {
			best, distance = f.name, n
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	var elsewhere []string
	for _, p := range Paths() {
		last := strings.TrimSuffix(strings.TrimSuffix(p, ".*"), "[]")
		if i := strings.LastIndexByte(last, '.'); fold(last[i+1:]) == fold(name) && !strings.Contains(last, "[]") && !strings.Contains(last, "*") {
			elsewhere = append(elsewhere, last)
		}
		// A mapping such as kubernetes has no path of its own in the list: its first part is enough.
		if first, _, ok := strings.Cut(last, "."); ok && path != "" && fold(first) == fold(name) && !slices.Contains(elsewhere, first) {
			elsewhere = append(elsewhere, first)
		}
	}
	if len(elsewhere) > 0 && len(elsewhere) <= 3 {
		return "did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return "remove it; the keys here are " + strings.Join(names, ", ")
}

// fold makes service_cidrs, service-cidrs and serviceCIDRs the same.
func fold(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(clip(name, 40)))
}

// Edits is how many bytes must be added, dropped or changed to make b of a (Levenshtein distance).
func Edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// texts calls visit with every string in v and its path: what is free text as well as what has a schema.
func texts(v reflect.Value, path string, visit func(path, text string)) {
	switch v.Kind() {
	case reflect.String:
		visit(path, v.String())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			texts(v.Elem(), path, visit)
		}
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			texts(v.Field(f.index), join(path, f.name), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			texts(v.Index(i), at(path, i), visit)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			texts(v.MapIndex(key), join(path, key.String()), visit)
		}
	}
}

// at is the path of a list's item.
func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
