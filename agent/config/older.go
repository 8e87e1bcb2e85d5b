package config

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// older are the names with a field of their own.
var older = map[string]string{
	"ENVIRONMENT":        "environment",
	"CLUSTER":            "cluster",
	"CLUSTER_NAME":       "cluster",
	"ROLE":               "role",
	"ZONE_ID":            "discovery.zoneID",
	"KUBERNETES_VERSION": "kubernetes.version",
	"REGION":             "aws.region",
	"AWS_REGION":         "aws.region",
	"API_ENDPOINT":       "kubernetes.apiEndpoint",
	"ETCD_VERSION":       "etcd.version",
	"STORE":              "store",
	"STORE_URL":          "store",
}

var numbered = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.-]+)?$`)

// translate makes the YAML tree that says the same, each node at the place of its line.
func (r *reader) translate(l Layer, all []assignment) *yaml.Node {
	t := tree{root: &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: 1}}
	by := map[string]assignment{}
	for _, a := range all {
		by[a.name] = a
	}
	for _, a := range all {
		path, known := older[a.name]
		switch {
		case a.value == "" && known: // an empty variable of a template is an absent one
		case known:
			if !t.set(path, a, normal(path, a.value)) {
				r.fail(l, a.line, a.column, a.name+": "+path+" is set by an earlier line", "keep one of them")
			}
		case a.name == "KUBERNETES_RELEASE":
			// The name of a release's directory in older stores; where it is a version, it is the version.
			t.set("env."+a.name, a, a.value)
			switch {
			case by["KUBERNETES_VERSION"].value != "":
			case numbered.MatchString(a.value):
				t.set("kubernetes.version", a, strings.TrimPrefix(a.value, "v"))
			default:
				r.warn(l, a, a.name+" is no version, so it is only exported to scripts", "set KUBERNETES_VERSION")
			}
		case isBucket(a.name) && a.value != "":
			t.set("env."+a.name, a, a.value)
			if by["STORE"].value == "" && by["STORE_URL"].value == "" {
				t.set("store", a, storeOf(a.value, by))
			}
		case isPrefix(a.name):
			t.set("env."+a.name, a, a.value)
		default:
			t.set("env."+a.name, a, a.value)
			r.warn(l, a, a.name+" has no field of its own, so it is only exported to scripts and templates",
				"remove it if nothing reads it, or see the KEY=VALUE table in docs/config.md")
		}
	}
	return t.root
}

func (r *reader) warn(l Layer, a assignment, message, remedy string) {
	r.problems = append(r.problems, newSource(l).at(a.line, a.column, Problem{Message: message, Remedy: remedy, Warning: true}))
}

func isBucket(name string) bool {
	return name == "ASSETS_BUCKET" || name == "S3_BUCKET" || name == "BUCKET"
}

func isPrefix(name string) bool {
	return name == "ASSETS_PREFIX" || name == "S3_PREFIX" || name == "PREFIX"
}

// storeOf joins a bucket, with or without its scheme, and the prefix that may stand beside it.
func storeOf(bucket string, by map[string]assignment) string {
	store := "s3://" + strings.Trim(strings.TrimPrefix(bucket, "s3://"), "/")
	for _, name := range []string{"ASSETS_PREFIX", "S3_PREFIX", "PREFIX"} {
		if prefix := strings.Trim(by[name].value, "/"); prefix != "" {
			return store + "/" + prefix
		}
	}
	return store
}

// normal is the value as the field wants it: versions without a v, an endpoint as a URL.
func normal(path, value string) string {
	switch path {
	case "kubernetes.version", "etcd.version":
		if numbered.MatchString(value) {
			return strings.TrimPrefix(value, "v")
		}
	case "kubernetes.apiEndpoint":
		if strings.Contains(value, "://") {
			return value
		}
		if !strings.Contains(value, ":") {
			value += ":6443"
		}
		return "https://" + value
	case "discovery.zoneID":
		return strings.TrimPrefix(value, "/hostedzone/")
	}
	return value
}
