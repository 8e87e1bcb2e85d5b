package main

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"rekindle/agent/etcd"
)

// TestVerbsAreDocumented sees the flags of `rekindle etcd` alone, which has none: these are its own verbs'.
func TestEtcdVerbsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/verbs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## etcd\n")
	section, _, _ = strings.Cut(section, "\n## ")
	command, _, err := root(io.Discard, io.Discard).Find([]string{"etcd"})
	if err != nil || len(command.Commands()) != 7 {
		t.Fatalf("%d verbs, error %v", len(command.Commands()), err)
	}
	for _, verb := range command.Commands() {
		if !strings.Contains(section, "`etcd "+verb.Name()) {
			t.Errorf("docs/verbs.md does not explain etcd %s", verb.Name())
		}
		if verb.Example == "" || verb.Long == "" {
			t.Errorf("etcd %s has no long description, or no example", verb.Name())
		}
		verb.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(section, "`--"+flag.Name) {
				t.Errorf("docs/verbs.md does not explain etcd %s --%s", verb.Name(), flag.Name)
			}
		})
	}
}

// The operator's guide explains every row of the decision table, in order, and none that is not there.
func TestRowsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "| row | what it means | what to do |\n|---|---|---|\n")
	section, _, _ = strings.Cut(section, "\n\n")
	var rows []string
	for line := range strings.Lines(section) {
		cells := regexp.MustCompile("^\\| `([a-z ]+)` \\| (.+) \\| (.+) \\|\n?$").FindStringSubmatch(line)
		if cells == nil {
			t.Fatalf("no row of the table: %q", line)
		}
		rows = append(rows, cells[1])
	}
	if diff := cmp.Diff(etcd.Rows(), rows); diff != "" {
		t.Errorf("docs/etcd.md and the decision table differ (-table +docs):\n%s", diff)
	}
}

func TestEtcdUsage(t *testing.T) {
	store := "dir://" + t.TempDir()
	for _, args := range [][]string{
		{"nonsense"}, {"list", "x"}, {"list", "--etcd", "other", "--store", store}, {"list", "--format", "xml", "--store", store},
		{"list", "--store", "ftp://x"}, {"list", "--region", "eu-central-1"}, {"members", "--format", "yaml", "--store", store},
		{"verify", "--store", store}, {"restore", "--store", store}, {"restore", "--to", "/var/lib/etcd/main/data", "--store", store},
		{"restore", "--to", ".", "--store", store}, {"adopt", "--member", "x", "--store", store}, {"snapshot", "--store", store},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var stderr strings.Builder
			command := root(io.Discard, &stderr)
			command.SetArgs(slices.Concat([]string{"etcd"}, args, []string{"--root", t.TempDir()}))
			if got := code(&stderr, command.ExecuteContext(t.Context())); got != exitUsage || stderr.Len() == 0 {
				t.Errorf("exit code %d, want 2; it said %q", got, stderr.String())
			}
		})
	}
}

func TestQuoted(t *testing.T) {
	for in, want := range map[string]string{"a": "a", "/mnt/x-1_y.z": "/mnt/x-1_y.z", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "http://[::1]:1": "'http://[::1]:1'"} {
		if got := quoted(in); got != want {
			t.Errorf("%q became %s", in, got)
		}
	}
}
