package plan

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// TestImports keeps the package pure: nothing in it can reach the machine, the network, the clock or chance.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	banned := []string{"os", "os/exec", "os/signal", "time", "io/ioutil", "path/filepath", "net", "net/http", "syscall", "context",
		"math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog", "runtime", "unsafe"}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range banned {
				if path == b {
					t.Errorf("%s imports %s", name, path)
				}
			}
			if strings.Contains(path, "aws") || strings.HasPrefix(path, "golang.org/x/sys") {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// TestNoSecrets: a plan is printed and kept, so no type in it may be made to hold key bytes.
func TestNoSecrets(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Slice, reflect.Array:
			if typ.Elem().Kind() == reflect.Uint8 {
				t.Errorf("%s is bytes: refer to them with config.Ref", path)
			}
			walk(path+"[]", typ.Elem())
		case reflect.Map, reflect.Pointer:
			walk(path, typ.Elem())
		case reflect.Struct:
			for field := range typ.Fields() {
				for _, word := range []string{"secret", "password", "token", "privatekey", "credential"} {
					if strings.Contains(strings.ToLower(field.Name), word) {
						t.Errorf("%s.%s sounds like a secret: refer to it with config.Ref", path, field.Name)
					}
				}
				walk(path+"."+field.Name, field.Type)
			}
		}
	}
	walk("Plan", reflect.TypeFor[Plan]())
	if len(seen) < 8 {
		t.Errorf("walked %d types only", len(seen))
	}
}
