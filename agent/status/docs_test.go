package status

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rekindle/agent/log"
)

func document(t *testing.T) string { return documentAt(t, "status.md") }

// documentAt is a file of docs, found from the module's root.
func documentAt(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	data, err := os.ReadFile(filepath.Join(dir, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// chapter is the text from one heading to the next of the same level.
func chapter(t *testing.T, doc, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(doc, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("there is no chapter %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// rowNames are the first cells of a chapter's tables.
func rowNames(text string) (names []string) {
	for _, m := range regexp.MustCompile("(?m)^\\| `?([^ `|]+)`? \\|").FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

func sameNames(t *testing.T, chapter string, want, got []string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("docs, %s: no row for `%s`", chapter, name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("docs, %s: `%s` is explained but does not exist", chapter, name)
		}
	}
}

func TestDocumentExplainsEveryReason(t *testing.T) {
	text := chapter(t, document(t), "Reasons")
	var want []string
	for _, e := range Reasons() {
		want = append(want, string(e.Reason))
		hint := e.Hint
		if hint == "" {
			hint = "nothing"
		}
		if row := fmt.Sprintf("| `%s` | %s | %s |\n", e.Reason, e.Meaning, hint); !strings.Contains(text, row) {
			t.Errorf("docs/status.md, Reasons: no row\n%s", row)
		}
	}
	sameNames(t, "Reasons", want, slices.DeleteFunc(rowNames(text), func(s string) bool { return s == "reason" }))
}

func TestDocumentExplainsEveryKey(t *testing.T) {
	doc := document(t)
	isHead := func(s string) bool { return s == "key" }
	status := slices.DeleteFunc(rowNames(chapter(t, doc, "status.json")), isHead)
	sameNames(t, "status.json", keys(reflect.TypeFor[Status](), ""), status)

	peers := slices.DeleteFunc(rowNames(chapter(t, doc, "peers.json")), isHead)
	sameNames(t, "peers.json", keys(reflect.TypeFor[Peers](), ""), peers)

	want := slices.DeleteFunc(keys(reflect.TypeFor[timelineJSON](), ""), func(s string) bool { return strings.HasPrefix(s, "identity.") })
	boot := slices.DeleteFunc(rowNames(chapter(t, doc, "The timeline")), isHead)
	sameNames(t, "The timeline", append(want, "identity"), boot)
}

// keys are the JSON keys of a struct, nested ones with their path.
func keys(typ reflect.Type, path string) (names []string) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			continue // unexported
		}
		name = path + name
		inner := field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		suffix := "."
		if inner.Kind() == reflect.Slice {
			inner, suffix = inner.Elem(), "[]."
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			names = append(names, keys(inner, name+suffix)...)
			continue
		}
		names = append(names, name)
	}
	return names
}

// The keys that scripts read are these; a change of this list is a change of Version, unless it only grows.
func TestKeysAreStable(t *testing.T) {
	golden(t, "keys.txt", []byte(strings.Join(keys(reflect.TypeFor[Status](), ""), "\n")+"\n"))
}

func TestEveryFieldHasAKey(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Status](), reflect.TypeFor[Agent](), reflect.TypeFor[Boot](), reflect.TypeFor[Assets](),
		reflect.TypeFor[Apply](), reflect.TypeFor[Unit](), reflect.TypeFor[Pending](), reflect.TypeFor[Span](),
		reflect.TypeFor[Authority](), reflect.TypeFor[Certificate](), reflect.TypeFor[JoinServer](), reflect.TypeFor[Refusal](),
		reflect.TypeFor[Etcd](), reflect.TypeFor[EtcdLineage](), reflect.TypeFor[EtcdMember](), reflect.TypeFor[EtcdBackup](),
		reflect.TypeFor[EtcdDelta](), reflect.TypeFor[EtcdDrill](), reflect.TypeFor[EtcdBuilt](), reflect.TypeFor[EtcdAside](),
		reflect.TypeFor[Discovery](), reflect.TypeFor[Name](), reflect.TypeFor[Proxy](), reflect.TypeFor[Backend](),
		reflect.TypeFor[Route53](), reflect.TypeFor[Peers](), reflect.TypeFor[Peer](),
	} {
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() && f.Tag.Get("json") == "" {
				t.Errorf("%s.%s has no JSON key", typ.Name(), f.Name)
			}
		}
	}
}

func TestDocumentExplainsTheRest(t *testing.T) {
	doc := document(t)
	for _, id := range []string{log.MessageReady, log.MessageFailed} {
		if !strings.Contains(doc, "| `"+id+"` |") {
			t.Errorf("docs/status.md: no row for MESSAGE_ID %s", id)
		}
	}
	sameNames(t, "rekindle status", []string{"0", "1", "2", "3"},
		slices.DeleteFunc(rowNames(chapter(t, doc, "rekindle status")), func(s string) bool { return s == "exit" }))
	sameNames(t, "States", []string{string(StateBooting), string(StateReady), string(StateDegraded), string(StateFailed)},
		slices.DeleteFunc(rowNames(chapter(t, doc, "States")), func(s string) bool { return s == "state" }))
}
