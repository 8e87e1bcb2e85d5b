package plan

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v4"
)

// functions are what templates can call. To add one: add it here, to docs/roles.md, and use it in a golden case.
func (r *renderer) functions() template.FuncMap {
	return template.FuncMap{
		"json":      toJSON,
		"yaml":      toYAML,
		"toYaml":    toYAML,
		"quote":     toJSON,
		"b64":       func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) },
		"indent":    indent,
		"join":      func(sep string, list []string) string { return strings.Join(list, sep) },
		"lines":     lines,
		"env":       envQuote,
		"flags":     mergeFlags,
		"args":      r.args,
		"image":     r.image,
		"wanted":    r.wanted,
		"etcd":      r.etcd,
		"carries":   r.carries,
		"dict":      dict,
		"words":     words,
		"ecrImages": ecrImages,
		"pairs":     pairs,
		// include is bound to each template when it is parsed, because it looks names up there.
		"include": func(string, any) (string, error) { return "", nil },
	}
}

func toJSON(v any) (string, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSuffix(text.String(), "\n"), err
}

func toYAML(v any) (string, error) {
	text, err := yaml.Dump(v, yaml.WithLineWidth(-1), yaml.WithCompactSeqIndent(false))
	return strings.TrimSuffix(string(text), "\n"), err
}

// indent moves every line but the first n to the right, so that it can follow what stands before it in the line.
func indent(n int, text string) string {
	return strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", n))
}

// lines splits a text and drops what is empty.
func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
}

// pairs writes a map as "a=1,b=2", in order.
func pairs(m map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, name+"="+m[name])
	}
	return strings.Join(list, ",")
}

// mergeFlags reads flags from a text, one per line, and lays extra over them by name: a null drops the default, a
// value takes the default's place, and what is new comes after, in order of name.
func mergeFlags(text string, extra map[string]*string) ([]string, error) {
	var flags []string
	used := map[string]bool{}
	for _, line := range lines(text) {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "--"), "=")
		if !strings.HasPrefix(line, "--") || name == "" {
			return nil, fmt.Errorf("%q is no flag: write --name=value, one per line", line)
		}
		value, override := extra[name]
		switch {
		case !override:
			flags = append(flags, line)
		case value != nil && !used[name]:
			flags = append(flags, "--"+name+"="+*value)
		}
		used[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if value := extra[name]; value != nil && !used[name] {
			flags = append(flags, "--"+name+"="+*value)
		}
	}
	return flags, nil
}

// words writes a list as one line that systemd and shells split into the same list again.
func words(list []string) string {
	quoted := slices.Clone(list)
	for i, w := range quoted {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$`;&|<>()*?[]#~") {
			quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
		}
	}
	return strings.Join(quoted, " ")
}

// dict makes a map from names and values, to hand several things to a partial.
func dict(list ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(list); i += 2 {
		name, ok := list[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", list[i])
		}
		m[name] = list[i+1]
	}
	if len(list)%2 != 0 {
		return nil, fmt.Errorf("dict: %v has no value", list[len(list)-1])
	}
	return m, nil
}

// ecrImages are the patterns of ECR's registries that the credential provider answers for, in every partition: images
// are copied across, and an isolated partition has a suffix that no list knows, which the instance itself tells.
func ecrImages(dnsSuffix string) []string {
	images := []string{
		"*.dkr.ecr.*.amazonaws.com",
		"*.dkr.ecr-fips.*.amazonaws.com",
		"*.dkr-ecr.*.on.aws",
		"*.dkr-ecr-fips.*.on.aws",
		"*.dkr.ecr.*.amazonaws.com.cn",
		"*.dkr-ecr.*.on.amazonwebservices.com.cn",
		"*.dkr.ecr.*.amazonaws.eu",
		"*.dkr.ecr.*.c2s.ic.gov",
		"*.dkr.ecr.*.sc2s.sgov.gov",
		"*.dkr.ecr.*.cloud.adc-e.uk",
		"*.dkr.ecr.*.csp.hci.ic.gov",
	}
	if own := "*.dkr.ecr.*." + dnsSuffix; dnsSuffix != "" && !slices.Contains(images, own) {
		images = append(images, own)
	}
	return images
}

// args merges the operator's extra arguments of a component over the flags in text.
func (r *renderer) args(component, text string) ([]string, error) {
	if component == "kubelet" {
		return mergeFlags(text, r.data.Config.Kubelet.ExtraArgs)
	}
	c, ok := r.data.component(component)
	if !ok {
		return nil, fmt.Errorf("there is no component %q: use kubelet or the name of a control plane binary", component)
	}
	return mergeFlags(text, c.ExtraArgs)
}

// image is a component's image: the one configured, or the one made from repository and version.
func (r *renderer) image(component string) (string, error) {
	c, ok := r.data.component(component)
	if !ok {
		return "", fmt.Errorf("there is no image for %q", component)
	}
	if c.Image != "" {
		return c.Image, nil
	}
	return r.data.Config.Kubernetes.ImageRepository + "/" + component + ":v" + r.data.Kubernetes.Version, nil
}

// wanted says whether an asset is part of the plan, by its name or path in role.yaml.
func (r *renderer) wanted(asset string) (bool, error) {
	if !r.known[asset] {
		return false, fmt.Errorf("the role has no asset %q", asset)
	}
	return r.taken[asset], nil
}

// carries says whether this node has a member of an etcd cluster that runs in this way.
func (r *renderer) carries(name, as string) bool {
	_, err := r.etcd(name)
	return err == nil && r.data.Etcd.RunAs == as
}

// etcd is the member of an etcd cluster on this node.
func (r *renderer) etcd(name string) (EtcdCluster, error) {
	for _, c := range r.data.Etcd.Clusters {
		if c.Name == name {
			return c, nil
		}
	}
	return EtcdCluster{}, fmt.Errorf("this node carries no member of etcd cluster %q", name)
}
