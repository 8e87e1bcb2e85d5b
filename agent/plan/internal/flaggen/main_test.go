package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestScan(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.go")
	source := `package x
const other = "from-a-constant"
func add(fs flags, prefix string) {
	fs.StringVar(&a, "plain-flag", "a default", "help")
	fs.Var(&b, "typed-flag", "help")
	fs.BoolVarP(&c, other, "c", false, "help")
	fs.IntVar(&d, fmt.Sprintf("audit-%s-mode", prefix), 0, "help")
	register(global, local, "library-flag")
	fs.Lookup("not-registered")
	fs.StringVar(&e, "Not A Flag", "", "")
}
`
	if err := os.WriteFile(name, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	if err := scan(name, found); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(found))
	want := []string{"audit-*-mode", "from-a-constant", "library-flag", "plain-flag", "typed-flag"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
