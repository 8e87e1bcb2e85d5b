package join

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// declared are the reasons of wire.go with the status that its comments promise.
func declared(t *testing.T) (names []string, statuses map[string]int) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "wire.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	statuses = map[string]int{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
			return true
		}
		text, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		names = append(names, text)
		status, _, _ := strings.Cut(spec.Comment.Text(), ":")
		status, _, _ = strings.Cut(strings.TrimSpace(status), " ")
		if statuses[text], err = strconv.Atoi(status); err != nil {
			t.Errorf("wire.go: %s: %v", text, err)
		}
		return true
	})
	return names, statuses
}

// TestDocs: docs/join.md explains every reason, in the order of wire.go and with its status, and names every limit.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/join.md")
	if err != nil {
		t.Fatal(err)
	}
	names, statuses := declared(t)
	if len(names) < 20 || len(answers) != len(names) {
		t.Fatalf("%d reasons, and %d have an answer", len(names), len(answers))
	}
	if all := Reasons(); !slices.Equal(all, names) {
		t.Errorf("Reasons() has %v, want those that wire.go declares: %v", all, names)
	}
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z][A-Za-z]+)` \\| ([0-9]+) \\| (.+) \\| (.+) \\|$").FindAllStringSubmatch(string(data), -1) {
		rows = append(rows, row[1])
		if row[2] != strconv.Itoa(statuses[row[1]]) {
			t.Errorf("docs/join.md: %s has status %s, want %d", row[1], row[2], statuses[row[1]])
		}
	}
	if !slices.Equal(rows, names) {
		t.Errorf("docs/join.md explains %v, want %v", rows, names)
	}
	for _, name := range names {
		a, ok := answers[Reason(name)]
		if !ok || a.status != statuses[name] || a.message == "" && Reason(name) != Granted {
			t.Errorf("%s: answered with %+v, want status %d", name, a, statuses[name])
		}
	}
	l := Limits{}.withDefaults()
	for _, text := range []string{
		fmt.Sprintf("verifies %d requests at once and lets %d more wait", l.Verifications, l.Queue),
		fmt.Sprintf("keeps %d connections open", l.PerAddress), fmt.Sprintf("serves %d connections at once", l.Connections),
		fmt.Sprintf("closed after %.0f s", newRoom(l).life.Seconds()), fmt.Sprintf("longer than %.0f s", maxWait.Seconds()),
		fmt.Sprintf("A request ends after %.0f s", l.Deadline.Seconds()),
		fmt.Sprintf("up to %d instances", lookupSize), "TCP 3988", "ec2:DescribeInstances",
	} {
		if !strings.Contains(strings.Join(strings.Fields(string(data)), " "), text) {
			t.Errorf("docs/join.md lacks %q", text)
		}
	}
	if l.Burst != 10 || l.Rate != 1 {
		t.Errorf("docs/join.md says other limits than %+v", l)
	}
}

// TestEveryReasonIsProvoked: there is a request in these tests for each reason of the protocol.
func TestEveryReasonIsProvoked(t *testing.T) {
	provoked := map[Reason]bool{Granted: true, WrongHost: true, Busy: true} // TestHonestNodes, TestHostsThatAreNotSTS, TestQueue
	for _, a := range attacks {
		provoked[a.reason] = true
	}
	names, _ := declared(t)
	for _, name := range names {
		if !provoked[Reason(name)] {
			t.Errorf("no attack is refused with %s", name)
		}
	}
}
