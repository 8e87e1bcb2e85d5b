package plan

import (
	"os"
	"path"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"rekindle/roles"
)

// TestDocs: docs/roles.md names every role, function, datum, environment name, asset, authority and certificate.
func TestDocs(t *testing.T) {
	text := string(read(t, "../../docs/roles.md"))
	need := func(kind, name string) {
		if !strings.Contains(text, name) {
			t.Errorf("docs/roles.md lacks %s %s", kind, name)
		}
	}
	entries, err := os.ReadDir("../../roles")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			need("role", "| `"+e.Name()+"` |")
		}
	}
	for name := range (&renderer{}).functions() {
		if !regexp.MustCompile("(?m)^\\| .*`" + name + " [A-Z]").MatchString(text) {
			t.Errorf("docs/roles.md lacks function %s", name)
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Data](), reflect.TypeFor[Node](), reflect.TypeFor[Kubernetes](),
		reflect.TypeFor[EtcdData](), reflect.TypeFor[EtcdCluster]()} {
		for field := range typ.Fields() {
			if field.IsExported() {
				need("datum", "`."+field.Name+"`")
			}
		}
	}
	for _, name := range []string{"master-aws", "etcd-aws"} {
		in := readCase(t, name)
		m := maker{in: in, config: &in.Config, plan: &Plan{}}
		m.gather()
		for variable := range m.data.Env {
			need("environment name", "`"+variable+"`")
		}
	}
	blank := regexp.MustCompile(`\{\{[^}]*\}\}`)
	for _, name := range []string{"master", "etcd"} {
		role, err := roles.Load(roles.Builtin(), nil, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range role.Assets {
			base := a.Object[strings.LastIndex(a.Object, "/")+1:]
			need("asset", blank.ReplaceAllString(a.Object[:strings.Index(a.Object, "/")+1], "<"))
			need("asset", base)
		}
		for _, a := range role.Authorities {
			need("authority", "`"+a.Name+"`")
			for _, file := range []string{a.Path, a.Key, a.Signer} {
				need("file of an authority", path.Base(file))
			}
		}
		for _, c := range role.Certs {
			need("certificate", strings.TrimPrefix(strings.TrimPrefix(c.Path, "/etc/kubernetes/"), "pki/etcd/"))
		}
	}
}
