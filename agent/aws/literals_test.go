package aws

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What would tie the agent to one partition.
var partitionWords = []string{"us-east-1", "arn:aws:", "amazonaws.com"}

// partitionAllowed are the places that have to name one, by path from the module's root and word.
var partitionAllowed = map[string]string{
	"agent/facts/identity.go us-east-1": "private DNS names of the oldest region have a domain of their own",
	"agent/plan/funcs.go amazonaws.com": "ECR's registries of all partitions, for the kubelet's credential provider",
	"agent/check.go amazonaws.com":      "the made-up node, in China, that a role is checked with",
}

// Nothing defaults to a partition: the agent's code and the roles name none. In Go files string literals count, so
// that comments may explain; in the roles everything does.
func TestNoPartitionIsWrittenDown(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	files := 0
	for _, top := range []string{"agent", "roles"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() && e.Name() == "testdata" {
				return skip(e, err)
			}
			if e.IsDir() || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			files++
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			texts, err := textsOf(path)
			for line, text := range texts {
				for _, w := range partitionWords {
					if !strings.Contains(text, w) {
						continue
					}
					used[rel+" "+w] = true
					if _, ok := partitionAllowed[rel+" "+w]; !ok {
						t.Errorf("%s:%d: %q: take region, partition and domain from the facts", rel, line, w)
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 20 {
		t.Errorf("only %d files were read", files)
	}
	for place := range partitionAllowed {
		if !used[place] {
			t.Errorf("%s is allowed and not used", place)
		}
	}
}

func skip(e fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	return filepath.SkipDir
}

// textsOf is what counts of a file, by line.
func textsOf(path string) (map[int]string, error) {
	texts := map[int]string{}
	if filepath.Ext(path) != ".go" {
		data, err := os.ReadFile(path)
		for n, line := range slices.Collect(strings.Lines(string(data))) {
			texts[n+1] = line
		}
		return texts, err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				texts[files.Position(lit.Pos()).Line] += text
			}
		}
		return true
	})
	return texts, nil
}
