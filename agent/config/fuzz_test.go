package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func seeds(f *testing.F) [][]byte {
	files, err := filepath.Glob("testdata/*.*.*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	var out [][]byte
	for _, file := range files {
		if strings.HasSuffix(file, ".golden") || strings.HasSuffix(file, ".problems") {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}

// sound checks what holds of all problems: a message, a remedy, and a position that exists.
func sound(t *testing.T, problems Problems) {
	t.Helper()
	for _, p := range problems {
		if p.Message == "" || p.Remedy == "" || p.Line < 0 || (p.Line > 0) != (p.Column > 0) {
			t.Errorf("not a sound problem: %#v", p)
		}
		if utf8.RuneCountInString(p.String()) > 2000 {
			t.Errorf("a message of %d characters: %.200s", utf8.RuneCountInString(p.String()), p)
		}
	}
}

func FuzzUserData(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		layers, kind, problems := UserData(data)
		sound(t, problems)
		switch kind {
		case KindNone, KindScript:
			if len(layers) > 0 {
				t.Errorf("%s with %d layers", kind, len(layers))
			}
		case KindYAML, KindEnv, KindMIME:
		default:
			t.Errorf("unknown form %q", kind)
		}
		_, again, _ := UserData(data)
		if again != kind {
			t.Errorf("%s at first, then %s", kind, again)
		}
		if c, problems := Check("x", data); (c == nil) != (problems.Err() != nil) {
			t.Errorf("Config %v with problems %v", c, problems)
		}
	})
}

func FuzzLoad(f *testing.F) {
	all := seeds(f)
	for i, data := range all {
		f.Add(data, all[(i+7)%len(all)])
	}
	f.Fuzz(func(t *testing.T, low, high []byte) {
		r := Resolve(Layer{Name: "low", Data: low}, Layer{Name: "high", Data: high})
		sound(t, r.Problems)
		if (r.Config == nil) != (r.Problems.Err() != nil) {
			t.Fatalf("Config %v with problems %v", r.Config, r.Problems)
		}
		if r.Config == nil {
			return
		}
		text, err := Marshal(r.Config)
		if err != nil {
			t.Fatal(err)
		}
		again, problems := Load(Layer{Name: "printed", Data: text})
		if again == nil {
			t.Fatalf("what Marshal printed is refused: %v\n%s", problems, text)
		}
		if printed, err := Marshal(again); err != nil || !reflect.DeepEqual(printed, text) {
			t.Errorf("what Marshal printed reads as something else (%v):\n%s\n%s", err, text, printed)
		}
	})
}
