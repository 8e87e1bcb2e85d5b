package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// Each testdata/NAME.bad.EXT has its messages, carets included, in NAME.bad.EXT.problems; each NAME.good.EXT its
// form, warnings and configuration in NAME.good.EXT.golden.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*.*")
	if err != nil {
		t.Fatal(err)
	}
	var good, bad int
	for _, file := range files {
		name := filepath.Base(file)
		switch {
		case strings.HasSuffix(name, ".golden"), strings.HasSuffix(name, ".problems"):
		case strings.Contains(name, ".bad."):
			bad++
			t.Run(name, func(t *testing.T) { checkBad(t, file) })
		case strings.Contains(name, ".good."):
			good++
			t.Run(name, func(t *testing.T) { checkGood(t, file) })
		default:
			t.Errorf("%s is neither .good. nor .bad.", file)
		}
	}
	if bad < 30 || good < 10 {
		t.Errorf("%d bad and %d good cases; some are gone", bad, good)
	}
}

func checkBad(t *testing.T, file string) {
	data := read(t, file)
	c, problems := Check(filepath.Base(file), data)
	if c != nil || problems.Err() == nil {
		t.Errorf("accepted, with %d warnings", len(problems))
	}
	for _, p := range problems {
		if p.Message == "" || p.Remedy == "" {
			t.Errorf("without message or remedy: %+v", p)
		}
	}
	golden(t, file+".problems", printed(t, problems))
}

func checkGood(t *testing.T, file string) {
	data := read(t, file)
	layers, kind, _ := UserData(data)
	c, problems := Check(filepath.Base(file), data)
	if c == nil {
		t.Fatalf("refused:\n%s", printed(t, problems))
	}
	text, err := Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("form: " + string(kind) + "\n")
	for _, l := range layers {
		b.WriteString("layer: " + l.Name + "\n")
	}
	b.WriteString(printed(t, problems) + "---\n" + string(text))
	golden(t, file+".golden", b.String())

	again, problems := Load(Layer{Name: "printed", Data: text})
	if again == nil {
		t.Fatalf("what Marshal printed is refused:\n%s", printed(t, problems))
	}
	if !reflect.DeepEqual(c, again) {
		t.Errorf("what Marshal printed reads as something else:\n%s", cmp.Diff(c, again))
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(read(t, file)), got); diff != "" {
		t.Errorf("%s (- golden, + now; go test -update writes it):\n%s", file, diff)
	}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func printed(t *testing.T, problems Problems) string {
	t.Helper()
	var b bytes.Buffer
	if err := problems.Print(&b, true); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
