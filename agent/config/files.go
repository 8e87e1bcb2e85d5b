package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"k8s.io/apimachinery/pkg/util/validation"
)

var mode = regexp.MustCompile(`^0?[0-7]{3,4}$`)

// target wants the path of a file on the node.
func (v *validator) target(path, text string) bool {
	switch {
	case text == "":
		v.bad(path, "no path", "write the absolute path of a file")
	case text[0] != '/':
		v.bad(path, "a relative path: "+quote(text), "write it from the root: /"+clip(text, 60))
	case slices.Contains(strings.Split(text, "/"), ".."):
		v.bad(path, "a path with ..: "+quote(text), "write it without")
	case strings.HasSuffix(text, "/"):
		v.bad(path, "a directory: "+quote(text), "write the path of a file")
	case !absolute(text):
		v.bad(path, "not a clean path: "+quote(text), "write it without empty or . elements")
	case slices.Contains([]string{"proc", "sys", "dev"}, strings.SplitN(text, "/", 3)[1]):
		v.bad(path, quote(text)+" is not on a disk", "use sysctls, modules or a unit")
	default:
		return true
	}
	return false
}

func (v *validator) files() {
	c := v.config
	for i, f := range c.Files {
		path := at("files", i)
		v.target(path+".path", f.Path)
		if f.Mode != "" && !mode.MatchString(f.Mode) {
			v.bad(path+".mode", "not a mode: "+quote(f.Mode), `write it in octal, for instance "0644"`)
		} else if n, err := strconv.ParseUint(f.Mode, 8, 32); err == nil && n&0o002 != 0 {
			v.warn(path+".mode", "everybody on the node may write this file", `write "0644" or less`)
		}
		switch {
		case f.Content != "" && f.From != "":
			v.bad(path+".from", "content and from exclude each other", "remove one of them")
		case f.Content == "" && f.From == "" && (!v.isSet(path+".content") || v.origins[path+".content"].null):
			v.bad(path, "a file without content", `set content (content: "" for an empty file) or from`)
		case f.From != "" && f.Template:
			v.bad(path+".template", "what from reads is written as it is", "remove template, or set content")
		case f.Template:
			v.template(path+".content", f.Content)
		}
		if f.From != "" {
			v.ref(path+".from", f.From)
		}
	}
	unique(v, "files", c.Files, func(f File) string { return f.Path }, ".path")
	for i, p := range c.Patches {
		v.patch(at("patches", i), p)
	}
	for name, pod := range c.StaticPods {
		path := join("staticPods", name)
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			v.badKey(path, "not a file's name: "+quote(name), "write lower-case letters, digits, dashes and dots, without .yaml")
		}
		if pod["kind"] != "Pod" || pod["apiVersion"] != "v1" {
			v.bad(path, "not a pod", "begin it with apiVersion: v1 and kind: Pod")
		}
	}
}

// template parses without executing; which names exist is known when the plan is made.
func (v *validator) template(path, text string) {
	t := parse.New("content")
	t.Mode = parse.SkipFuncCheck
	if _, err := t.Parse(text, "", "", map[string]*parse.Tree{}); err != nil {
		v.bad(path, strings.TrimPrefix(err.Error(), "template: "), "correct the template, or remove `template: true`")
	}
}

// MarshalYAML keeps the content of an empty file, which omitempty would drop: a file has content or from.
func (f File) MarshalYAML() (any, error) {
	if f.Content != "" || f.From != "" {
		type plain File
		return plain(f), nil
	}
	return struct {
		Path    string `yaml:"path"`
		Mode    string `yaml:"mode,omitempty"`
		Content string `yaml:"content"`
	}{f.Path, f.Mode, ""}, nil
}
