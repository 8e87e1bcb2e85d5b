package plan

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	old := &Plan{
		Cluster: "c", Role: "minion", Node: "n",
		Dirs: []Dir{{"/a", 0o755}, {"/b", 0o755}},
		Files: []File{
			{Path: "/etc/gone", Mode: 0o644, Content: "x\n"},
			{Path: "/etc/long", Mode: 0o644, Content: "1\n2\n3\n4\n5\n6\n7\n8\n9\n"},
			{Path: "/etc/same", Mode: 0o644, Content: "x\n"},
		},
		Units: []Unit{{Name: "a.service", State: Started}, {Name: "b.service", State: Started}},
	}
	now := &Plan{
		Cluster: "c", Role: "minion", Node: "n",
		Dirs: []Dir{{"/a", 0o700}, {"/b", 0o755}},
		Files: []File{
			{Path: "/etc/long", Mode: 0o600, Content: "1\n2\n3\n4\nfive\n6\n7\n8\n9"},
			{Path: "/etc/new", Mode: 0o644, Content: "hello\n"},
			{Path: "/etc/same", Mode: 0o644, Content: "x\n"},
		},
		Units: []Unit{{Name: "b.service", State: Stopped}, {Name: "a.service", State: Started}},
	}
	var out strings.Builder
	changed, err := Diff(&out, old, now, false)
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	want := `~ dir /a
@@ -1,2 +1,2 @@
 path: /a
-mode: '0755'
+mode: '0700'
- file /etc/gone
@@ -1,2 +0,0 @@
-# mode 0644
-x
~ file /etc/long
@@ -1,10 +1,10 @@
-# mode 0644
+# mode 0600
 1
 2
 3
 4
-5
+five
 6
 7
 8
-9
+9  (no line end)
+ file /etc/new
@@ -0,0 +1,2 @@
+# mode 0644
+hello
~ unit b.service
@@ -1,3 +1,3 @@
 name: b.service
-state: started
-# started as number 2
+state: stopped
+# started as number 1
~ unit a.service
@@ -1,3 +1,3 @@
 name: a.service
 state: started
-# started as number 1
+# started as number 2
`
	if out.String() != want {
		t.Errorf("got:\n%s", &out)
	}

	out.Reset()
	if changed, err := Diff(&out, now, now, true); err != nil || changed || out.Len() > 0 {
		t.Errorf("a plan differs from itself: %v %v %q", changed, err, out.String())
	}
	if _, err := Diff(&out, old, now, true); err != nil || !strings.Contains(out.String(), "\x1b[32m+five\x1b[0m\n") {
		t.Errorf("no color in %q (%v)", out.String(), err)
	}
}

// TestEdits: whatever is compared, the kept and dropped lines are the old text, the kept and added ones the new.
func TestEdits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func() []string {
		lines := make([]string, random.IntN(12))
		for i := range lines {
			lines[i] = string(rune('a' + random.IntN(4)))
		}
		return lines
	}
	large := func(letter string) []string {
		return slices.Concat([]string{"head"}, slices.Repeat([]string{letter}, 3000), []string{"tail"})
	}
	for i := range 3000 {
		a, b := text(), text()
		if i == 0 {
			a, b = large("a"), large("b") // too large for the table
		}
		var old, now []string
		for _, e := range edits(a, b) {
			if e.a != len(old) || e.b != len(now) {
				t.Fatalf("%q to %q: a line counts as %d,%d", a, b, e.a, e.b)
			}
			if e.op != '+' {
				old = append(old, e.line)
			}
			if e.op != '-' {
				now = append(now, e.line)
			}
		}
		if !slices.Equal(a, old) || !slices.Equal(b, now) {
			t.Fatalf("%q to %q: comes out as %q to %q", a, b, old, now)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("cluster: x\nfiles:\n- path: /x\n  mode: \"0644\"\n  content: |\n    a\n")
	f.Add("files:\n- mode: 99999999\n")
	f.Add("units: [{name: a, state: started}]\netcd:\n- base: {a: [1, {b: 2}]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		Check(p)
		var out strings.Builder
		if err := Print(&out, p); err != nil {
			t.Fatal(err)
		}
		again, err := Read(strings.NewReader(out.String()))
		if err != nil {
			t.Fatalf("what was printed cannot be read: %v\n%s", err, &out)
		}
		if changed, _ := Diff(&out, p, again, false); changed {
			t.Fatalf("printing changed the plan:\n%s", &out)
		}
	})
}
