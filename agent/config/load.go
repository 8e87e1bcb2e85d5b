package config

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Layer is one source of configuration: a YAML document.
type Layer struct {
	// Name is what the operator knows it by: "user-data", "/etc/rekindle/10-x.yaml", "store cluster.yaml".
	Name string
	Data []byte

	file string     // where positions point to, when that is not Name
	skip int        // lines of file before Data
	root *yaml.Node // parsed already: KEY=VALUE lines
}

// Origin is where a value was set.
type Origin struct {
	Layer        string
	File         string
	Line, Column int

	source             *source
	line, column       int // in the layer's text
	keyLine, keyColumn int
	null               bool // set to go back to the default
}

// Result is what several layers amount to.
type Result struct {
	// Config is nil when Problems contains an error.
	Config   *Config
	Problems Problems
	// Sources names the layers that set at least one value, lowest first.
	Sources []string

	origins map[string]Origin
}

// Origin says where the value at path ("kubernetes.serviceCIDRs", "env.NAME") was set; false when it is a default.
func (r Result) Origin(path string) (Origin, bool) {
	o, ok := r.origins[path]
	return o, ok
}

// Origins yields every path that a layer set, sorted.
func (r Result) Origins() iter.Seq2[string, Origin] {
	return func(yield func(string, Origin) bool) {
		for _, path := range slices.Sorted(maps.Keys(r.origins)) {
			if !yield(path, r.origins[path]) {
				return
			}
		}
	}
}

// Load lays the layers over the defaults, in order, and validates the outcome. Scalars and lists replace, mappings
// merge by key, null goes back to the default. With an error among the problems the Config is nil.
//
// What another source may still give (cluster, role, store, version) may be absent: see Complete.
func Load(layers ...Layer) (*Config, Problems) {
	r := Resolve(layers...)
	return r.Config, r.Problems
}

// Resolve is Load that also says where each value came from.
func Resolve(layers ...Layer) Result {
	r := Result{origins: map[string]Origin{}}
	c := Default()
	for _, l := range layers {
		s := newSource(l)
		root, problems := l.root, Problems(nil)
		if root == nil {
			root, problems = s.parse(l.Data)
		}
		r.Problems = append(r.Problems, problems...)
		if root == nil {
			continue
		}
		d := decoder{source: s, origins: r.origins}
		d.layer(root, c)
		r.Problems = append(r.Problems, d.problems...)
		if d.set && !slices.Contains(r.Sources, l.Name) {
			r.Sources = append(r.Sources, l.Name)
		}
	}
	c.derive()
	v := validator{config: c, origins: r.origins, decoding: r.Problems}
	v.all()
	r.Problems = append(r.Problems, v.problems...).sorted()
	if r.Problems.Err() == nil {
		r.Config = c
	}
	return r
}

// Check is for one user-data file on its own, over the defaults. The problems of its outer form (MIME, base64, lines)
// and of its content come together. A script is valid and gives the defaults.
func Check(name string, data []byte) (*Config, Problems) {
	layers, _, problems := readUserData(name, data)
	c, more := Load(layers...)
	problems = append(problems, more...).sorted()
	if problems.Err() != nil {
		return nil, problems
	}
	return c, problems
}

// Complete reports what must be there before a node can boot and which no layer gave.
func (c *Config) Complete() Problems {
	var ps Problems
	need := func(path, value, remedy string) {
		if value == "" {
			ps = append(ps, Problem{Path: path, Message: "not set by any layer", Remedy: remedy})
		}
	}
	need("cluster", c.Cluster, "set it in user-data or in the store's cluster.yaml, or tag the instance with rekindle:cluster")
	need("role", c.Role, "tag the instance with rekindle:role, or set it in user-data")
	need("store", c.Store, "set it in user-data or in /etc/rekindle: s3://BUCKET/PREFIX")
	need("kubernetes.version", c.Kubernetes.Version, "set it in the store's cluster.yaml or in user-data")
	return ps
}

// under tells whether path is inside parent.
func under(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && rest != "" && (parent == "" || rest[0] == '.' || rest[0] == '[')
}
