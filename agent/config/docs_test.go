package config

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const manual = "../../docs/config.md"

var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z]+) \\| (?:`([^`]*)`)? *\\| ?.*\\|$")

// The manual names every field of the schema with its default, and none that does not exist.
func TestManualNamesEveryField(t *testing.T) {
	_, fields, ok := strings.Cut(string(read(t, manual)), "\n## Fields\n")
	if !ok {
		t.Fatal("the manual has no Fields")
	}
	documented := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(fields, -1) {
		if documented[m[1]] != nil {
			t.Errorf("%s is documented twice", m[1])
		}
		documented[m[1]] = m[2:]
	}
	paths := Paths()
	for _, path := range paths {
		if documented[path] == nil {
			t.Errorf("docs/config.md says nothing about %s", path)
		}
	}
	for path := range documented {
		if !slices.Contains(paths, path) {
			t.Errorf("docs/config.md documents %s, which does not exist", path)
		}
	}
	c := mustLoad(t)
	defaults := map[string]string{}
	leaves(reflect.ValueOf(*c), "", defaults)
	for path, value := range defaults {
		if doc := documented[path]; doc != nil && doc[1] != value {
			t.Errorf("docs/config.md says that %s defaults to %q; it is %q", path, doc[1], value)
		}
	}
	for path, doc := range documented {
		if doc[1] != "" && defaults[path] == "" {
			t.Errorf("docs/config.md says that %s defaults to %q; it has no default", path, doc[1])
		}
	}
}

// leaves collects the values that are not zero, by the paths that Paths uses.
func leaves(v reflect.Value, path string, out map[string]string) {
	switch {
	case v.Kind() == reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			leaves(v.Field(f.index), strings.TrimPrefix(path+"."+f.name, "."), out)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			leaves(v.Index(i), path+"[]", out)
		}
	case v.IsZero():
	case v.Type() == reflect.TypeFor[time.Duration]():
		text := v.Interface().(time.Duration).String()
		for _, zero := range []string{"m0s", "h0m"} {
			if strings.HasSuffix(text, zero) {
				text = strings.TrimSuffix(text, zero[1:])
			}
		}
		out[path] = text
	default:
		if before, ok := out[path]; ok { // a list of several
			out[path] = before + ", "
		}
		out[path] += fmt.Sprint(v.Interface())
	}
}

// Every type of the schema has a column entry that fits.
func TestManualTypes(t *testing.T) {
	types := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(read(t, manual)), -1) {
		types[m[1]] = m[2]
	}
	for path, want := range map[string]string{
		"cluster": "text", "assets.parallel": "number", "etcd.quotaBytes": "number", "aws.pathStyle": "boolean", "timeouts.unit": "duration",
		"files[].from": "reference", "pki.authorities.*": "references", "pki.authorities.*.key": "reference", "patches[].patch": "free", "files[]": "list", "kubernetes.featureGates.*": "boolean",
	} {
		if types[path] != want {
			t.Errorf("docs/config.md says that %s is %q, want %q", path, types[path], want)
		}
	}
}

func TestManualExamplesAreValid(t *testing.T) {
	fence := regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
	found := fence.FindAllStringSubmatch(string(read(t, manual)), -1)
	kinds := map[string]bool{}
	for _, m := range found {
		kinds[m[1]] = true
		if _, problems := Check(m[1]+" example", []byte(m[2])); problems != nil {
			t.Errorf("%v\n%s", problems, m[2])
		}
	}
	if !kinds["yaml"] || !kinds["mime"] || !kinds["env"] {
		t.Errorf("the manual has examples of %v only", slices.Sorted(maps.Keys(kinds)))
	}
}

func TestManualNamesTheOlderForm(t *testing.T) {
	text := string(read(t, manual))
	names := append(slices.Collect(maps.Keys(older)), "KUBERNETES_RELEASE", "ASSETS_BUCKET", "S3_BUCKET", "BUCKET", "ASSETS_PREFIX", "S3_PREFIX", "PREFIX")
	for _, name := range names {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/config.md says nothing about %s", name)
		}
	}
	for name, field := range older {
		if !strings.Contains(text, "| `"+field+"`") {
			t.Errorf("docs/config.md does not say that %s is %s", name, field)
		}
	}
}
