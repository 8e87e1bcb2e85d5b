package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestVerbsAreDocumented sees the flags of `rekindle pki` alone, which has none: these are its own verbs'.
func TestPKIVerbsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/verbs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## pki\n")
	section, _, _ = strings.Cut(section, "\n## ")
	command, _, err := root(io.Discard, io.Discard).Find([]string{"pki"})
	if err != nil || len(command.Commands()) < 6 {
		t.Fatalf("%d verbs, error %v", len(command.Commands()), err)
	}
	for _, verb := range command.Commands() {
		if !strings.Contains(section, "`pki "+verb.Name()) {
			t.Errorf("docs/verbs.md does not explain pki %s", verb.Name())
		}
		verb.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(section, "`--"+flag.Name) {
				t.Errorf("docs/verbs.md does not explain pki %s --%s", verb.Name(), flag.Name)
			}
		})
	}
}
