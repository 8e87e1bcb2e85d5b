package status

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// constants are the values of the Reason constants in reason.go, in order.
func constants(t *testing.T) (values []Reason) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			value := spec.(*ast.ValueSpec)
			if id, ok := value.Type.(*ast.Ident); !ok || id.Name != "Reason" {
				t.Errorf("%s is no Reason: reason.go holds nothing else", value.Names[0])
				continue
			}
			s, err := strconv.Unquote(value.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, Reason(s))
		}
	}
	return values
}

func TestEveryReasonIsExplained(t *testing.T) {
	var explained []Reason
	for _, e := range Reasons() {
		explained = append(explained, e.Reason)
		if e.Meaning == "" {
			t.Errorf("%s has no meaning", e.Reason)
		}
		if e.Hint == "" && e.Reason != ReasonReady && e.Reason != ReasonBooting {
			t.Errorf("%s has no hint", e.Reason)
		}
		if len(e.Hint) > hintLimit {
			t.Errorf("the hint of %s does not fit the console line: %d bytes", e.Reason, len(e.Hint))
		}
	}
	if diff := cmp.Diff(constants(t), explained); diff != "" {
		t.Errorf("reason.go and reasons.go (-constants +explained):\n%s", diff)
	}
	seen := map[Reason]bool{}
	for _, r := range explained {
		if seen[r] {
			t.Errorf("%s twice", r)
		}
		seen[r] = true
	}
}

func TestExplain(t *testing.T) {
	base := errors.New("sha256 mismatch")
	for _, tc := range []struct {
		name    string
		err     error
		reason  Reason
		hint    string
		message string
	}{
		{"none", nil, ReasonUnknown, "", ""},
		{"plain", base, ReasonUnknown, ReasonUnknown.Hint(), "sha256 mismatch"},
		{"hint", Fail(ReasonAssetCorrupt, "publish it", base), ReasonAssetCorrupt, "publish it", "sha256 mismatch"},
		{"no hint", Fail(ReasonAssetCorrupt, "", base), ReasonAssetCorrupt, ReasonAssetCorrupt.Hint(), "sha256 mismatch"},
		{"wrapped", fmt.Errorf("assets: %w, twice", Fail(ReasonAssetCorrupt, "publish it", base)), ReasonAssetCorrupt, "publish it",
			"assets: sha256 mismatch, twice"},
		{"outermost", Fail(ReasonEtcdBlocked, "wait", Fail(ReasonStoreDenied, "allow it", base)), ReasonEtcdBlocked, "wait",
			"sha256 mismatch (allow it)"},
		{"deadline", fmt.Errorf("tags: %w", context.DeadlineExceeded), ReasonDeadline, ReasonDeadline.Hint(), "tags: context deadline exceeded"},
		{"stopped", context.Canceled, ReasonInterrupted, ReasonInterrupted.Hint(), "context canceled"},
		{"full", fmt.Errorf("write: %w", syscall.ENOSPC), ReasonDiskFull, ReasonDiskFull.Hint(), "write: no space left on device"},
		{"reason before kind", Fail(ReasonIMDSUnreached, "x", context.DeadlineExceeded), ReasonIMDSUnreached, "x", "context deadline exceeded"},
		{"joined", errors.Join(base, Fail(ReasonRoleUnknown, "tag it", base)), ReasonRoleUnknown, "tag it", "sha256 mismatch\nsha256 mismatch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reason, hint := Explain(tc.err)
			if reason != tc.reason || hint != tc.hint || Message(tc.err) != tc.message {
				t.Errorf("got %s, %q, %q", reason, hint, Message(tc.err))
			}
		})
	}
	// Whoever asks whether an error has a reason already must not be given a guess.
	if reason, hint := ReasonOf(fmt.Errorf("tags: %w", context.DeadlineExceeded)); reason != ReasonUnknown || hint != "" {
		t.Errorf("an error without a reason has %s, %q", reason, hint)
	}
	if reason, hint := ReasonOf(Fail(ReasonSignature, "", base)); reason != ReasonSignature || hint != ReasonSignature.Hint() {
		t.Errorf("got %s, %q", reason, hint)
	}
	if Fail(ReasonDiskFull, "x", nil) != nil {
		t.Error("no error became one")
	}
	if err := Fail(ReasonDiskFull, "do", base); !errors.Is(err, base) || !strings.HasSuffix(err.Error(), "mismatch (do)") {
		t.Errorf("got %v", err)
	}
}
