// Command flaggen writes the names of the flags of Kubernetes' node and control plane components: those that are registered
// anywhere in the given directories of its source. It is run by hand when a minor is added:
//
//	go run ./agent/plan/internal/flaggen DIR... > agent/plan/flags.txt
//
// where the directories are, for the oldest and the newest minor, k8s.io/kubernetes (pkg, cmd/kube-apiserver,
// cmd/kube-controller-manager, cmd/kube-scheduler, cmd/kube-proxy, cmd/kubelet) and the modules k8s.io/apiserver/pkg,
// k8s.io/component-base, k8s.io/cloud-provider/options and k8s.io/controller-manager.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// registers are the methods of a flag set, and the functions that take over flags of libraries.
var registers = regexp.MustCompile(`^([A-Z][A-Za-z0-9]*)?Var(P|PF)?$|^[rR]egister$`)

var flagName = regexp.MustCompile(`^[a-z][a-z0-9-]*(\*[a-z0-9-]*)?$`)

func main() {
	found := map[string]bool{}
	for _, dir := range os.Args[1:] {
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			return scan(name, found)
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Println(name)
	}
}

// scan notes the flags that one file registers.
func scan(name string, found map[string]bool) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	constants := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for i, value := range spec.Values {
				if text, ok := literal(value, nil); ok && i < len(spec.Names) {
					constants[spec.Names[i].Name] = text
				}
			}
		}
		return true
	})
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method := ""
		switch f := call.Fun.(type) {
		case *ast.SelectorExpr:
			method = f.Sel.Name
		case *ast.Ident:
			method = f.Name
		}
		if !registers.MatchString(method) {
			return true
		}
		for _, arg := range call.Args {
			if text, ok := literal(arg, constants); ok && flagName.MatchString(text) {
				found[text] = true
				break
			}
		}
		return true
	})
	return nil
}

// literal is the text of a string, of a constant of the file, or of a format, in which the parts become "*".
func literal(e ast.Expr, constants map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := constants[e.Name]
		return text, ok
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" && len(e.Args) > 0 {
			text, ok := literal(e.Args[0], constants)
			return strings.ReplaceAll(text, "%s", "*"), ok
		}
	}
	return "", false
}
