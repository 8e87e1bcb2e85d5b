package config_test

import (
	"crypto/ecdsa"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"rekindle/agent/config"
	"rekindle/agent/facts"
	"rekindle/agent/plan"
)

var forbidden = regexp.MustCompile(`(?i)(passw|secret|token|private_?key|credential|access_?key|passphrase)`)

// What is printed, diffed, logged and put into support bundles has no place where a secret could stand.
func TestNoTypeHoldsASecret(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[config.Config](), reflect.TypeFor[facts.Facts](), reflect.TypeFor[plan.Plan]()} {
		for _, found := range secretsIn(typ) {
			t.Errorf("%s: %s; a secret is pointed to with a config.Ref", typ, found)
		}
	}
}

// The check itself must find what it looks for.
func TestSecretsAreFound(t *testing.T) {
	type inner struct {
		Renamed string `yaml:"password"`
	}
	for name, typ := range map[string]reflect.Type{
		"a field's name": reflect.TypeFor[struct{ JoinToken string }](),
		"a tag's name":   reflect.TypeFor[struct{ List []map[string]*inner }](),
		"bytes":          reflect.TypeFor[struct{ Data []byte }](),
		"an array":       reflect.TypeFor[struct{ Data [32]byte }](),
		"a key":          reflect.TypeFor[struct{ Key *ecdsa.PrivateKey }](),
		"a function":     reflect.TypeFor[struct{ Do func() }](),
		"a map's key":    reflect.TypeFor[map[inner]string](),
	} {
		if len(secretsIn(typ)) == 0 {
			t.Errorf("%s is not found in %s", name, typ)
		}
	}
	if found := secretsIn(reflect.TypeFor[struct{ Token config.Ref }]()); len(found) > 0 {
		t.Errorf("a reference to a secret is taken for one: %v", found)
	}
}

func secretsIn(root reflect.Type) []string {
	var found []string
	seen := map[reflect.Type]bool{}
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		if typ == reflect.TypeFor[config.Ref]() || seen[typ] {
			return
		}
		seen[typ] = true
		pkg := typ.PkgPath()
		switch {
		case pkg == "net/netip" || pkg == "time":
			return
		case pkg == "crypto" || strings.HasPrefix(pkg, "crypto/") || strings.HasPrefix(pkg, "golang.org/x/crypto"):
			found = append(found, path+" is a "+typ.String())
			return
		}
		switch typ.Kind() {
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				if (forbidden.MatchString(f.Name) || forbidden.MatchString(string(f.Tag))) && f.Type != reflect.TypeFor[config.Ref]() {
					found = append(found, path+"."+f.Name+" is named like a secret")
				}
				walk(f.Type, path+"."+f.Name)
			}
		case reflect.Slice, reflect.Array:
			if typ.Elem().Kind() == reflect.Uint8 {
				found = append(found, path+" is raw bytes")
			}
			walk(typ.Elem(), path+"[]")
		case reflect.Map:
			walk(typ.Key(), path+".key")
			walk(typ.Elem(), path+".*")
		case reflect.Pointer:
			walk(typ.Elem(), path)
		case reflect.Func, reflect.Chan, reflect.UnsafePointer:
			found = append(found, path+" is no data")
		}
	}
	walk(root, root.Name())
	return found
}
