package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// validator looks at the values after all layers are merged. What is absent is no mistake here: see Complete.
type validator struct {
	config   *Config
	origins  map[string]Origin
	decoding Problems // found before; what follows from them is not reported again
	problems Problems
}

func (v *validator) all() {
	v.general()
	v.assets()
	v.aws()
	v.kubernetes()
	v.networks()
	v.node()
	v.containerd()
	v.etcd()
	v.discovery()
	v.pki()
	v.join()
	v.metrics()
	v.files()
	v.units()
	v.machine()
	v.timeouts()
	v.secrets()
}

func (v *validator) bad(path, message, remedy string) {
	v.add(path, false, Problem{Message: message, Remedy: remedy})
}

func (v *validator) warn(path, message, remedy string) {
	v.add(path, false, Problem{Message: message, Remedy: remedy, Warning: true})
}

// badKey is bad with the position of the key instead of the value's.
func (v *validator) badKey(path, message, remedy string) {
	v.add(path, true, Problem{Message: message, Remedy: remedy})
}

func (v *validator) add(path string, key bool, p Problem) {
	for _, d := range v.decoding {
		if d.Path != "" && !d.Warning && (d.Path == path || under(path, d.Path) || under(d.Path, path)) {
			return
		}
	}
	p.Path = path
	// What no layer set itself stands where the nearest thing around it was set.
	for at := path; at != ""; at = parent(at) {
		if o, ok := v.origins[at]; ok {
			line, column := o.line, o.column
			if key && at == path {
				line, column = o.keyLine, o.keyColumn
			}
			v.problems = append(v.problems, o.source.at(line, column, p))
			return
		}
	}
	p.File = "defaults"
	v.problems = append(v.problems, p)
}

// parent is the path around path.
func parent(path string) string {
	if strings.HasSuffix(path, `"]`) {
		return path[:max(strings.LastIndex(path, `["`), 0)]
	}
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

func (v *validator) isSet(path string) bool {
	_, ok := v.origins[path]
	return ok
}

// oneOf wants an empty value or one of the choices.
func (v *validator) oneOf(path, value string, choices ...string) {
	if value == "" || slices.Contains(choices, value) {
		return
	}
	remedy := "write " + strings.Join(choices, " or ")
	for _, c := range choices {
		if strings.EqualFold(c, value) || Edits(c, value) < 3 {
			remedy = "did you mean " + c + "?"
		}
	}
	v.bad(path, "unknown value "+quote(value), remedy)
}

func (v *validator) within(path string, value, low, high time.Duration) {
	if value < low || value > high {
		v.bad(path, fmt.Sprintf("%s is out of range", value), fmt.Sprintf("write a duration from %s to %s", low, high))
	}
}

// unique reports the second of two equal items; key names an item, and "" is left to other checks.
func unique[T any](v *validator, list string, items []T, key func(T) string, field string) {
	first := map[string]int{}
	for i, item := range items {
		k := key(item)
		if k == "" {
			continue
		}
		if j, twice := first[k]; twice {
			v.bad(at(list, i)+field, quote(k)+" is in the list twice, first as item "+fmt.Sprint(j), "keep one of them")
			continue
		}
		first[k] = i
	}
}

// line wants text that fits on one line of an environment file or a command line.
func (v *validator) line(path, value string) bool {
	if strings.ContainsAny(value, "\n\r") {
		v.bad(path, "more than one line", "write one line")
		return false
	}
	return true
}

// first is one sentence of apimachinery's answers, "" when there is none.
func first(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	return problems[0]
}

func (v *validator) general() {
	c := v.config
	v.domain("cluster", c.Cluster)
	if len(c.Cluster) > 200 {
		v.bad("cluster", "longer than 200 characters", "the names of its API servers must still fit into DNS")
	}
	if c.Role != "" && len(validation.IsDNS1123Label(c.Role)) > 0 {
		v.bad("role", "not a role's name: "+quote(c.Role), "write lower-case letters, digits and dashes: master, minion, loadbalancer, etcd, or the name of a role in the store")
	}
	if v.line("environment", c.Environment) && len(c.Environment) > 256 {
		v.bad("environment", "longer than 256 bytes", "write a short name")
	}
	if c.Store != "" {
		v.location("store", c.Store, "s3", "dir")
	}
	for i, m := range c.Mirrors {
		v.location(at("mirrors", i), m, "s3", "https", "http", "dir")
	}
	unique(v, "mirrors", c.Mirrors, func(m string) string { return strings.TrimRight(m, "/") }, "")
	for name, value := range c.Env {
		path := join("env", name)
		if !envName.MatchString(name) {
			v.badKey(path, "not a variable's name: "+quote(name), "write letters, digits and underscores, not beginning with a digit")
		}
		v.line(path, value)
	}
}

// domain wants a DNS name of labels, each at most 63 long.
func (v *validator) domain(path, name string) {
	if name == "" {
		return
	}
	why := first(validation.IsDNS1123Subdomain(name))
	for label := range strings.SplitSeq(name, ".") {
		if why == "" && len(label) > 63 {
			why = "a label is longer than 63 characters"
		}
	}
	if why != "" {
		v.bad(path, "not a DNS name: "+quote(name), "write lower-case letters, digits and dashes, in labels of at most 63 characters joined by dots")
	}
}

func (v *validator) timeouts() {
	t := v.config.Timeouts
	for _, f := range []struct {
		name      string
		value     time.Duration
		low, high time.Duration
	}{
		{"metadata", t.Metadata, time.Second, time.Hour},
		{"role", t.Role, time.Second, 24 * time.Hour},
		{"network", t.Network, time.Second, time.Hour},
		{"assets", t.Assets, 10 * time.Second, 24 * time.Hour},
		{"etcd", t.Etcd, 10 * time.Second, 24 * time.Hour},
		{"join", t.Join, 10 * time.Second, 24 * time.Hour},
		{"turn", t.Turn, 10 * time.Second, 24 * time.Hour},
		{"unit", t.Unit, time.Second, time.Hour},
		{"resync", t.Resync, 10 * time.Second, 24 * time.Hour},
	} {
		v.within("timeouts."+f.name, f.value, f.low, f.high)
	}
}

// secrets reports values that are secrets, wherever they stand. Their line is not shown.
func (v *validator) secrets() {
	texts(reflect.ValueOf(*v.config), "", func(path, text string) {
		if what := secret(text); what != "" {
			v.bad(path, "contains "+what, "user-data and stores' cluster.yaml are no place for secrets: put it into SSM or the store and point to it with `from:`")
		}
	})
	for name, value := range v.config.Env {
		if value != "" && secretName.MatchString(name) {
			v.warn(join("env", name), "by its name a secret, and the environment is readable by all of the node",
				"write a file with `from:` instead")
		}
	}
}
