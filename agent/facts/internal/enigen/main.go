// Command enigen writes the table of ENI limits that package facts embeds, from the source of the Amazon VPC CNI plugin.
//
// The plugin's package is read and not linked: on start it opens a log file below /host/var/log, and it brings a
// logging stack and a map of a thousand structs that a node needs one entry of.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

const usage = "usage: enigen MODULE@VERSION FILE"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "enigen:", err)
		os.Exit(1)
	}
}

func run(module, out string) error {
	dir, err := download(module)
	if err != nil {
		return err
	}
	limits, err := read(filepath.Join(dir, "pkg", "vpc", "vpc_ip_resource_limit.go"))
	if err != nil {
		return err
	}
	lines := make([]string, 0, len(limits))
	for name, l := range limits {
		lines = append(lines, fmt.Sprintf("%s %d %d\n", name, l.interfaces, l.addresses))
	}
	slices.Sort(lines)
	var table bytes.Buffer
	fmt.Fprintf(&table, "# %s: instance type, network interfaces on its default card, IPv4 addresses of each\n", module)
	for _, line := range lines {
		table.WriteString(line)
	}
	return os.WriteFile(out, table.Bytes(), 0o644)
}

func download(module string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return "", fmt.Errorf("go mod download %s: %w: %s", module, err, out)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return "", fmt.Errorf("go mod download %s: %w", module, err)
	}
	return answer.Dir, nil
}

type limits struct{ interfaces, addresses int }

// read finds the one map literal of the file. An entry is {ENILimit, IPv4Limit, DefaultNetworkCardIndex,
// NetworkCards: {{MaximumNetworkInterfaces, NetworkCardIndex}...}, ...}.
func read(path string) (map[string]limits, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	all := map[string]limits{}
	ast.Inspect(file, func(n ast.Node) bool {
		entry, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		key, ok := entry.Key.(*ast.BasicLit)
		if !ok || key.Kind != token.STRING {
			return true
		}
		name, unquoteErr := strconv.Unquote(key.Value)
		value, ok := entry.Value.(*ast.CompositeLit)
		if unquoteErr != nil || !ok {
			return true
		}
		all[name] = limitsOf(value)
		return false
	})
	for name, l := range all {
		if l.interfaces <= 0 || l.addresses <= 0 {
			return nil, fmt.Errorf("%s: %s: no limits: has the file another shape now?", path, name)
		}
	}
	if len(all) < 500 {
		return nil, fmt.Errorf("%s: only %d types: has the file another shape now?", path, len(all))
	}
	return all, nil
}

func limitsOf(entry *ast.CompositeLit) limits {
	l := limits{interfaces: number(entry, "ENILimit"), addresses: number(entry, "IPv4Limit")}
	cards, _ := field(entry, "NetworkCards").(*ast.CompositeLit)
	if cards == nil {
		return l
	}
	for _, element := range cards.Elts {
		card, ok := element.(*ast.CompositeLit)
		if ok && number(card, "NetworkCardIndex") == number(entry, "DefaultNetworkCardIndex") {
			l.interfaces = number(card, "MaximumNetworkInterfaces")
		}
	}
	return l
}

func field(literal *ast.CompositeLit, name string) ast.Expr {
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if id, ok := pair.Key.(*ast.Ident); ok && id.Name == name {
				return pair.Value
			}
		}
	}
	return nil
}

func number(literal *ast.CompositeLit, name string) int {
	basic, ok := field(literal, name).(*ast.BasicLit)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(basic.Value)
	if err != nil {
		return 0
	}
	return n
}
