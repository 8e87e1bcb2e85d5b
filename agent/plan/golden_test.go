package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rekindle/agent/config"
	"rekindle/roles"
)

var update = flag.Bool("update", false, "write the golden plans anew")

// TestGolden makes the plan of each case in testdata. To add a case: config.yaml, facts.json, roles/ for an overlay, and
// `go test ./agent/plan -run Golden -update`; then read what came out as an operator would.
func TestGolden(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			p, err := Make(readCase(t, name))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := Print(&got, p); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name, "plan.golden.yaml")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != got.String() {
				lines := hunks(split(string(want)), split(got.String()), 3)
				t.Errorf("plan differs from %s (-want +got):\n%s", golden, strings.Join(lines, "\n"))
			}

			again, err := Read(&got)
			if err != nil {
				t.Fatalf("read what was printed: %v", err)
			}
			var out bytes.Buffer
			if changed, err := Diff(&out, p, again, false); err != nil || changed {
				t.Errorf("a plan that was printed and read is another (%v):\n%s", err, &out)
			}
			for _, err := range Check(again) {
				t.Error(err)
			}
		})
	}
}

func cases(t *testing.T) (names []string) {
	t.Helper()
	all, err := filepath.Glob("testdata/*/config.yaml")
	if err != nil || len(all) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range all {
		names = append(names, filepath.Base(filepath.Dir(file)))
	}
	return names
}

func readCase(t testing.TB, name string) Input {
	t.Helper()
	dir := filepath.Join("testdata", name)
	in := Input{Config: readConfig(t, read(t, filepath.Join(dir, "config.yaml")))}
	if err := json.Unmarshal(read(t, filepath.Join(dir, "facts.json")), &in.Facts); err != nil {
		t.Fatal(err)
	}
	in.Role = loadRole(t, filepath.Join(dir, "roles"), in.Config.Role)

	list := filepath.Join(dir, "manifest.txt")
	if _, err := os.Stat(list); errors.Is(err, fs.ErrNotExist) {
		list = "testdata/manifest.txt"
	}
	objects := strings.Fields(string(read(t, list)))
	if len(objects) == 1 && objects[0] == "none" {
		return in
	}
	in.Manifest = map[string]string{}
	for _, object := range objects {
		sum := sha256.Sum256([]byte(object))
		in.Manifest[object] = hex.EncodeToString(sum[:])
	}
	return in
}

func loadRole(t testing.TB, overlay, name string) roles.Role {
	t.Helper()
	var over fs.FS
	if _, err := os.Stat(overlay); err == nil {
		over = os.DirFS(overlay)
	}
	role, err := roles.Load(roles.Builtin(), over, name)
	if err != nil {
		t.Fatal(err)
	}
	return role
}

func readConfig(t testing.TB, text []byte) config.Config {
	t.Helper()
	c, problems := config.Check("config.yaml", text)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return *c
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
