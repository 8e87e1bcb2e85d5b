package pki

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/status"
)

var updateRecords = flag.Bool("update-records", false, "write testdata/record_*.json with new keys")

// The records in testdata are of this format's first version: they must stay readable as long as it is.
func TestGoldenRecords(t *testing.T) {
	for _, name := range Names {
		file := "testdata/record_" + name + ".json"
		if *updateRecords {
			writeGolden(t, file, name)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		record, err := parseRecord(data, "prod", name)
		if err != nil {
			t.Fatal(err)
		}
		again, err := record.encode()
		if err != nil || string(again) != string(data) {
			t.Errorf("%s is not what is written: %v\n%s", file, err, cmp.Diff(string(data), string(again)))
		}
		a, err := record.Authority()
		if err != nil || a.Check(start.Add(time.Hour)) != nil || a.Key == nil {
			t.Errorf("%s: no usable authority: %v", file, err)
		}
		if all := len(a.Certificates) + len(a.Keys); all != 2 || record.Rotation.Step != Begun {
			t.Errorf("%s: %d generations, rotation %+v", file, all, record.Rotation)
		}
	}
}

func writeGolden(t *testing.T, file, name string) {
	record, err := recordOf(t, name).begin(made(t, name), start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	data, err := record.encode()
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func recordOf(t testing.TB, name string) *Record {
	t.Helper()
	record, err := newRecord("prod", "i-1", made(t, name), start)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestRefusedRecords(t *testing.T) {
	second := made(t, Kubernetes)
	key := string(keyText(t, second))
	for name, test := range map[string]struct {
		change     func(r *Record)
		want, hint string
	}{
		"sound":           {func(*Record) {}, "", ""},
		"another cluster": {func(r *Record) { r.Cluster = "dev" }, `the record of cluster "dev" in the store of "prod"`, "a store of its own"},
		"another name":    {func(r *Record) { r.Name = Etcd }, `the record of authority "etcd"`, "older version"},
		"a newer version": {func(r *Record) { r.Version = 2 }, "a record of version 2; this agent knows 1", "newer one"},
		"no holder":       {func(r *Record) { r.Holder = Writer{} }, "no holder", "older version"},
		"no generation":   {func(r *Record) { r.Generations = nil }, "0 generations", "older version"},
		"no key":          {func(r *Record) { r.Generations[0].Key = "" }, "no private key", "older version"},
		"another's key":   {func(r *Record) { r.Generations[0].Key = KeyText(key) }, "does not fit", "older version"},
		"a cut key":       {func(r *Record) { r.Generations[0].Key = KeyText(key[:50]) }, "cut off", "older version"},
		"two in one": {func(r *Record) { r.Generations[0].Certificate += string(second.CertificatePEM()) },
			"more than one certificate", "older version"},
		"sealed and open": {func(r *Record) { r.Sealed = &Sealed{} }, "in clear as well", "older version"},
		"a rotation to nothing": {func(r *Record) { r.Rotation = &Rotation{Step: Begun, Other: "abcd"} },
			"no generation has the fingerprint abcd", "older version"},
		"a rotation to itself": {func(r *Record) {
			a, _ := r.generation(0)
			r.Rotation = &Rotation{Step: Begun, Other: a.Fingerprint()}
		}, "is the one that signs", "older version"},
		"an unknown step": {func(r *Record) { r.Rotation = &Rotation{Step: "paused"} }, `step "paused"`, "older version"},
	} {
		t.Run(name, func(t *testing.T) {
			record := recordOf(t, Kubernetes)
			test.change(record)
			data, err := record.encode()
			if err != nil {
				t.Fatal(err)
			}
			_, err = parseRecord(data, "prod", Kubernetes)
			wantError(t, err, test.want)
			if reason, hint := status.ReasonOf(err); err != nil && (reason != status.ReasonPKIBlocked || !strings.Contains(hint, test.hint)) {
				t.Errorf("reason %s, hint %q", reason, hint)
			}
		})
	}
	for _, text := range []string{"", "null", "[]", "{", `{"version":1}`, `{"version":1,"extra":1}`, `{"version":1} x`} {
		if _, err := parseRecord([]byte(text), "prod", Kubernetes); err == nil {
			t.Errorf("%q was taken for a record", text)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	record := recordOf(t, Kubernetes)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, *record); strings.Contains(text, "PRIVATE KEY--") || strings.Contains(text, fmt.Sprintf("%x", "PRIVATE KEY")) {
			t.Errorf("%s shows the key", verb)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, name := range Names {
		data, err := recordOf(f, name).encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"version":1,"name":"etcd","cluster":"prod","holder":{"nonce":"x"},"generations":[{"key":"x"}],"sealed":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range Names {
			record, err := parseRecord(data, "prod", name)
			if err != nil {
				if strings.Contains(err.Error(), "PRIVATE KEY-----") {
					t.Error("the error quotes a key")
				}
				continue
			}
			text, err := record.encode()
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseRecord(text, "prod", name)
			if err != nil || !cmp.Equal(record, again) {
				t.Errorf("the record changes when it is written: %v", err)
			}
			if _, err := record.Authority(); err != nil {
				t.Errorf("a record that parses makes no authority: %v", err)
			}
		}
	})
}
