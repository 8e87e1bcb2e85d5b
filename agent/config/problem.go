package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Problem is one mistake in one layer, with what to do about it.
type Problem struct {
	File string
	// Line and Column count from 1, Column in characters; both are 0 when the mistake is that something is absent.
	Line, Column int
	// Path is the field, "kubernetes.serviceCIDRs[1]"; empty when the mistake is not in a field.
	Path    string
	Message string
	Remedy  string
	// Warning marks what works, but hardly as the operator wants.
	Warning bool

	source string // the line of the file, for the caret
}

// String is `file:line:col: path: message (remedy)`; a warning says so before its message.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Remedy != "" {
		b.WriteString(" (" + p.Remedy + ")")
	}
	return b.String()
}

// Caret is the line of the file with a caret under the column, indented for printing under String. It is empty when
// the line is not known or must not be shown, as for a secret.
func (p Problem) Caret() string {
	if p.source == "" {
		return ""
	}
	// Tabs stay tabs, so that the caret stands right whatever their width.
	pad := []rune(p.source)
	pad = pad[:min(max(p.Column-1, 0), len(pad))]
	for i, r := range pad {
		if r != '\t' {
			pad[i] = ' '
		}
	}
	return "    " + p.source + "\n    " + string(pad) + "^\n"
}

// Problems are mistakes and warnings, sorted by position. As an error it prints one line for each.
type Problems []Problem

// shown bounds what Error prints: a console log is no place for a thousand lines.
const shown = 100

func (ps Problems) Error() string {
	lines := make([]string, 0, min(len(ps), shown+1))
	for i, p := range ps {
		if i == shown {
			lines = append(lines, fmt.Sprintf("and %d more", len(ps)-shown))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// Print writes all of them, each with its source line and a caret when source is set.
func (ps Problems) Print(w io.Writer, source bool) error {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.String() + "\n")
		if source {
			b.WriteString(p.Caret())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Errors are those that keep the configuration from being used.
func (ps Problems) Errors() Problems { return ps.only(false) }

// Warnings are the others.
func (ps Problems) Warnings() Problems { return ps.only(true) }

// Err is nil when there is nothing worse than warnings, and the errors otherwise.
func (ps Problems) Err() error {
	if e := ps.Errors(); len(e) > 0 {
		return e
	}
	return nil
}

// Is makes errors.Is(err, ErrInvalid) true of a list with errors.
func (ps Problems) Is(target error) bool { return target == ErrInvalid && len(ps.Errors()) > 0 }

// ErrInvalid is what every list of problems with an error in it is.
var ErrInvalid = errors.New("configuration is not valid")

func (ps Problems) only(warning bool) Problems {
	var out Problems
	for _, p := range ps {
		if p.Warning == warning {
			out = append(out, p)
		}
	}
	return out
}

// sorted orders by position and drops repetitions, which aliases and several layers make.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(ps)
}
