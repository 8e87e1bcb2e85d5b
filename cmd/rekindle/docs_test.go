package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Every verb has a section in docs/verbs.md that names each of its flags, and no section is about a verb that is gone.
func TestVerbsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/verbs.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		sections[name] = body
	}
	command := root(io.Discard, io.Discard)
	for _, verb := range command.Commands() {
		body, ok := sections[verb.Name()]
		delete(sections, verb.Name())
		if !ok {
			t.Errorf("docs/verbs.md has no section on %s", verb.Name())
			continue
		}
		verb.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(body, "`--"+flag.Name) {
				t.Errorf("docs/verbs.md does not explain %s --%s", verb.Name(), flag.Name)
			}
		})
		if verb.Short == "" {
			t.Errorf("%s says nothing about itself", verb.Name())
		}
	}
	for name := range sections {
		t.Errorf("docs/verbs.md explains %s, which does not exist", name)
	}
}

func TestUsageErrorsExitWith2(t *testing.T) {
	for _, args := range [][]string{
		{"check"}, {"run", "extra"}, {"publish", "one"}, {"status", "--format", "xml"}, {"status", "--nonsense"},
		{"up"}, {"up", "novalue"}, {"plan", "--facts", "/nowhere.json"}, {"check", "/nowhere.yaml"}, {"nonsense"},
		{"run", "--units", "nonsense"}, {"version", "--log-format", "xml"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var stderr strings.Builder
			command := root(io.Discard, &stderr)
			command.SetArgs(append(args, "--root", t.TempDir()))
			err := command.ExecuteContext(t.Context())
			if got := code(&stderr, err); got != exitUsage {
				t.Errorf("exit code %d, want 2; it said %q", got, stderr.String())
			}
			if stderr.Len() == 0 {
				t.Error("it said nothing")
			}
		})
	}
}
