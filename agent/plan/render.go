package plan

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"rekindle/roles"
)

// renderer turns the texts of a role into the plan's.
type renderer struct {
	data     *Data
	partials []roles.File
	known    map[string]bool // assets of the role
	taken    map[string]bool // those of the plan
}

// file renders one file by its syntax.
func (r *renderer) file(f roles.File) (string, error) {
	switch f.Syntax {
	case roles.Plain:
		return f.Text, nil
	case roles.Percent:
		return r.percent(f.Source, f.Text)
	default:
		return r.template(f.Source, f.Text)
	}
}

// when evaluates a condition. An empty one is true.
func (r *renderer) when(where, text string) (bool, error) {
	if text == "" {
		return true, nil
	}
	out, err := r.template(where+" when", text)
	switch strings.TrimSpace(out) {
	case "true":
		return err == nil, err
	case "false", "":
		return false, err
	}
	return false, problem(where, "when: %q renders %q: write a condition that gives true or false", text, out)
}

// template renders text; source names it in errors.
func (r *renderer) template(source, text string) (string, error) {
	root := template.New(source).Option("missingkey=error").Funcs(r.functions())
	root.Funcs(template.FuncMap{"include": func(name string, data any) (string, error) {
		var out strings.Builder
		err := root.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}})
	for _, p := range r.partials {
		if _, err := root.New(p.Source).Parse(p.Text); err != nil {
			return "", r.located(err)
		}
	}
	if _, err := root.Parse(text); err != nil {
		return "", r.located(err)
	}
	var out strings.Builder
	if err := root.Execute(&out, r.data); err != nil {
		return "", r.located(err)
	}
	return out.String(), nil
}

var (
	templateError = regexp.MustCompile(`^template: (.+?:\d+(?::\d+)?): (?s:(.*))$`)
	executing     = regexp.MustCompile(`^executing "[^"]*" at <((?s:.*?))>: ((?s:.*))$`)
	missingKey    = regexp.MustCompile(`^map has no entry for key "(.*)"$`)
)

// located turns text/template's errors into "file:line:column: expression: what", and for a name that is not defined
// adds those that are.
func (r *renderer) located(err error) error {
	m := templateError.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	where, what := m[1], m[2]
	e := executing.FindStringSubmatch(what)
	if e == nil {
		return problem(where, "%s", what)
	}
	at, what := e[1], e[2]
	// An error inside an included template carries its own place, which is the one to look at.
	if inner := strings.LastIndex(what, "template: "); inner >= 0 && templateError.MatchString(what[inner:]) {
		return r.located(errors.New(what[inner:]))
	}
	if key := missingKey.FindStringSubmatch(what); key != nil && strings.Contains(at, ".Env") {
		return r.undefined(where, key[1])
	}
	if key := missingKey.FindStringSubmatch(what); key != nil {
		return problem(where, "%s: there is no %q", at, key[1])
	}
	return problem(where, "%s: %s", at, what)
}

func (r *renderer) undefined(where, name string) error {
	return problem(where, "%s is not defined: set env.%s in the configuration, or use one of %s", name, name,
		strings.Join(slices.Sorted(maps.Keys(r.data.Env)), ", "))
}

var percentName = regexp.MustCompile(`%%([A-Za-z_][A-Za-z0-9_]*)%%`)

// percent replaces %%NAME%% by what the environment says.
func (r *renderer) percent(source, text string) (string, error) {
	var errs []error
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		lines[i] = percentName.ReplaceAllStringFunc(line, func(match string) string {
			name := strings.Trim(match, "%")
			value, ok := r.data.Env[name]
			if !ok {
				errs = append(errs, r.undefined(fmt.Sprintf("%s:%d", source, i+1), name))
			}
			return value
		})
	}
	return strings.Join(lines, ""), errors.Join(errs...)
}
