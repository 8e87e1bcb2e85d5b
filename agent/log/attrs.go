package log

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"
)

// field is an attribute as it is written: the groups it is in and its key, and its value as text.
type field struct {
	path  []string
	value string
}

// scope is what WithGroup and WithAttrs gathered: the open groups and the fields so far. It is never changed, only
// copied, because loggers share it.
type scope struct {
	groups []string
	fields []field
}

func (s scope) withGroup(name string) scope {
	if name == "" {
		return s
	}
	s.groups = append(slices.Clip(s.groups), name)
	return s
}

func (s scope) withAttrs(attrs []slog.Attr) scope {
	s.fields = slices.Clip(s.fields)
	for _, a := range attrs {
		s.fields = appendFields(s.fields, s.groups, a)
	}
	return s
}

// record is the scope's fields and those of the record.
func (s scope) record(r slog.Record) []field {
	fields := slices.Clip(s.fields)
	r.Attrs(func(a slog.Attr) bool {
		fields = appendFields(fields, s.groups, a)
		return true
	})
	return fields
}

// appendFields flattens groups. As slog asks: empty attributes and groups are left out, groups without a name inlined.
func appendFields(fields []field, groups []string, a slog.Attr) []field {
	a.Value = a.Value.Resolve()
	if a.Value.Kind() == slog.KindGroup {
		if a.Key != "" {
			groups = append(slices.Clip(groups), a.Key)
		}
		for _, member := range a.Value.Group() {
			fields = appendFields(fields, groups, member)
		}
		return fields
	}
	if a.Equal(slog.Attr{}) {
		return fields
	}
	value := redacted
	if !secretKey(a.Key) && !slices.ContainsFunc(groups, secretKey) {
		value = Redact(text(a.Value))
	}
	return append(fields, field{path: append(slices.Clip(groups), a.Key), value: value})
}

// text is a value for a reader: what it says of itself, or else JSON.
func text(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error:
			return x.Error()
		case fmt.Stringer:
			return x.String()
		case encoding.TextMarshaler:
			if b, err := x.MarshalText(); err == nil {
				return string(b)
			}
		case []byte:
			return string(x)
		default:
			if r := reflect.ValueOf(x); r.Kind() == reflect.String { // a type of its own, such as status.Reason
				return r.String()
			}
			if b, err := json.Marshal(x); err == nil {
				return string(b)
			}
		}
	}
	return v.String()
}
