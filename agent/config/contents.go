package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"github.com/pelletier/go-toml/v2"
	"k8s.io/apimachinery/pkg/util/validation"
)

var (
	mode       = regexp.MustCompile(`^0?[0-7]{3,4}$`)
	unitName   = regexp.MustCompile(`^[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.(service|socket|timer|mount|automount|swap|path|target|slice)$`)
	dropInName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*\.conf$`)
	sysctlName = regexp.MustCompile(`^[a-z0-9_-]+([./][A-Za-z0-9_*:-]+)+$`)
	moduleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
)

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
		case f.Content == "" && f.From == "" && !v.isSet(path+".content"):
			v.bad(path, "a file without content", `set content (content: "" for an empty file) or from`)
		case f.From != "" && f.Template:
			v.bad(path+".template", "what from reads is written as it is", "remove template, or set content")
		case f.Template:
			v.template(path+".content", f.Content)
		}
		if f.From != "" {
			if _, err := f.From.Location(); err != nil {
				v.bad(path+".from", "not a reference: "+quote(string(f.From)), "write s3:path/in/store, s3://bucket/key, ssm:/parameter or file:/path")
			}
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

func (v *validator) patch(path string, p Patch) {
	v.target(path+".path", p.Path)
	switch body := p.Patch.(type) {
	case nil:
		v.bad(path+".patch", "no patch", "write a mapping (JSON merge patch) or a list of operations (JSON patch)")
	case map[string]any:
	case []any:
		for i, item := range body {
			v.operation(at(path+".patch", i), item)
		}
	default:
		v.bad(path+".patch", "neither a mapping nor a list", "write a mapping (JSON merge patch) or a list of operations (JSON patch)")
	}
}

func (v *validator) operation(path string, item any) {
	op, ok := item.(map[string]any)
	if !ok {
		v.bad(path, "not an operation", "write {op: replace, path: /spec/hostNetwork, value: true}")
		return
	}
	verb, _ := op["op"].(string)
	where, isText := op["path"].(string)
	needs := map[string]string{"add": "value", "replace": "value", "test": "value", "move": "from", "copy": "from", "remove": ""}
	need, known := needs[verb]
	switch _, has := op[need]; {
	case !known:
		v.bad(path+".op", fmt.Sprintf("unknown operation %v", clip(fmt.Sprint(op["op"]), 40)), "write add, remove, replace, move, copy or test")
	case !isText || where != "" && where[0] != '/':
		v.bad(path+".path", "not a JSON pointer", "write it like /spec/containers/0/image")
	case need != "" && !has:
		v.bad(path, "the operation "+verb+" without "+need, "set "+need)
	}
}

func (v *validator) units() {
	c := v.config
	for i, u := range c.Units {
		path := at("units", i)
		if u.Name == "" {
			v.bad(path+".name", "a unit without a name", "write it with its suffix, for instance x.service")
		} else if len(u.Name) > 255 || !unitName.MatchString(u.Name) {
			v.bad(path+".name", "not a unit's name: "+quote(u.Name), "write it with its suffix: .service, .socket, .timer, .mount, .path, .target or .slice")
		}
		v.oneOf(path+".state", u.State, "started", "enabled", "stopped")
		v.section(path+".content", u.Content)
		for name, text := range u.DropIns {
			own := join(path+".dropIns", name)
			if !dropInName.MatchString(name) {
				v.badKey(own, "not a drop-in's name: "+quote(name), "write it like 10-limits.conf")
			}
			v.section(own, text)
		}
	}
	unique(v, "units", c.Units, func(u Unit) string { return u.Name }, ".name")
}

// section wants a unit file to begin with one: systemd ignores what stands before, and says so only in the journal.
func (v *validator) section(path, text string) {
	for line := range strings.Lines(text) {
		switch t := strings.TrimSpace(line); {
		case t == "", t[0] == '#', t[0] == ';':
		case t[0] == '[' && t[len(t)-1] == ']':
			return
		default:
			v.bad(path, "a line before the first section: "+quote(t), "begin with [Unit] or [Service]")
			return
		}
	}
}

func (v *validator) machine() {
	c := v.config
	for name, value := range c.Sysctls {
		path := join("sysctls", name)
		if !sysctlName.MatchString(name) || strings.Contains(name, "..") {
			v.badKey(path, "not a sysctl: "+quote(name), "write it like net.ipv4.ip_forward")
		}
		if v.line(path, value) && strings.TrimSpace(value) == "" {
			v.bad(path, "no value", "write one, or null to leave the sysctl as the role has it")
		}
	}
	for i, name := range c.Modules {
		if !moduleName.MatchString(name) {
			v.bad(at("modules", i), "not a kernel module: "+quote(name), "write its name without path and .ko")
		}
	}
	unique(v, "modules", c.Modules, func(m string) string { return m }, "")
}

func (v *validator) containerd() {
	c := v.config.Containerd
	if v.isSet("containerd.sandboxImage") { // otherwise it follows from imageRepository, which is checked
		v.image("containerd.sandboxImage", c.SandboxImage)
	}
	for i, r := range c.Registries {
		path := at("containerd.registries", i)
		switch {
		case r.Host == "":
			v.bad(path+".host", "a registry without a host", "write the registry's name as image references have it, or _default")
		case r.Host != "_default" && !host(r.Host):
			v.bad(path+".host", "not a registry's host: "+quote(r.Host), "write HOST or HOST:PORT without scheme and path, or _default")
		}
		if r.Server != "" {
			v.endpoint(path+".server", r.Server, []string{"https", "http"}, true)
		}
		if r.Server == "" && len(r.Mirrors) == 0 {
			v.bad(path, "a registry without mirrors", "add mirrors, or remove it")
		}
		for j, m := range r.Mirrors {
			v.mirror(at(path+".mirrors", j), m)
		}
	}
	unique(v, "containerd.registries", c.Registries, func(r Registry) string { return r.Host }, ".host")
	var any map[string]any
	if err := toml.Unmarshal([]byte(c.Config), &any); err != nil {
		where := ""
		if e, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := e.Position()
			where = fmt.Sprintf("line %d, column %d of the value: ", line, column)
		}
		v.bad("containerd.config", "not TOML: "+where+strings.TrimPrefix(err.Error(), "toml: "), "correct it; quote strings with double quotes")
	}
}

func (v *validator) mirror(path string, m Mirror) {
	if m.URL == "" {
		v.bad(path+".url", "a mirror without a URL", "write https://HOST")
	} else if u := v.endpoint(path+".url", m.URL, []string{"https", "http"}, true); u != nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		v.warn(path+".url", "http:// lets whoever is on the way replace images that are pulled by tag", "use https://, with ca for a private authority")
	}
	if m.SkipVerify {
		v.warn(path+".skipVerify", "the mirror's certificate is not verified", "set ca instead")
	}
	if m.CA != "" {
		v.target(path+".ca", m.CA)
	}
}

func (v *validator) etcd() {
	e := v.config.Etcd
	for i, name := range e.Clusters {
		if name == "" {
			v.bad(at("etcd.clusters", i), "an etcd cluster without a name", "write main or events")
		}
		v.oneOf(at("etcd.clusters", i), name, "main", "events")
	}
	if !slices.Contains(e.Clusters, "main") {
		v.bad("etcd.clusters", "main is missing", "write [main] or [main, events]")
	}
	unique(v, "etcd.clusters", e.Clusters, func(c string) string { return c }, "")
	if e.Version != "" {
		if major, minor, ok := v.semver("etcd.version", e.Version, "3.6.16"); ok && (major != 3 || minor < 5 || minor > 7) {
			v.bad("etcd.version", fmt.Sprintf("etcd %d.%d is not known to this agent", major, minor), "write a version from 3.5 to 3.7, all three numbers")
		}
	}
	v.oneOf("etcd.runAs", e.RunAs, "pod", "unit")
	schemes := []string{"https"}
	if e.Plaintext {
		v.warn("etcd.plaintext", "etcd without TLS: whoever reaches its port reads and writes every secret of the cluster", "remove it outside of a laboratory")
		schemes = []string{"http", "https"}
	}
	for i, text := range e.Endpoints {
		path := at("etcd.endpoints", i)
		if u := v.endpoint(path, text, schemes, false); u != nil && u.Port() == "" {
			v.bad(path, "no port in "+quote(text), "write "+clip(text, 80)+":2379")
		}
	}
	unique(v, "etcd.endpoints", e.Endpoints, func(u string) string { return strings.TrimSuffix(u, "/") }, "")
	v.image("etcd.image", e.Image)
	v.flags("etcd.extraArgs", e.ExtraArgs)
	switch q := e.QuotaBytes; {
	case q == 0 && !v.isSet("etcd.quotaBytes"):
	case q < 64<<20 || q > 64<<30:
		v.bad("etcd.quotaBytes", fmt.Sprintf("%d is out of range", q), "write bytes, from 67108864 (64 MiB) to 68719476736 (64 GiB)")
	case q > 8<<30:
		v.warn("etcd.quotaBytes", "more than the 8 GiB that etcd suggests at most", "write 8589934592, and compact more often")
	}
}
