package datadir

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var whole = Marker{UID: "u", Generation: 2, Member: "m-1", Token: "u-g2", Instance: "i-1", Fresh: true}

func TestAMarkerIsReadAsItWasWritten(t *testing.T) {
	dir := t.TempDir() + "/etcd/main"
	if m, err := ReadMarker(dir); m != nil || err != nil {
		t.Fatalf("before it is written: %v, %v", m, err)
	}
	for _, m := range []Marker{whole, {UID: "u", Generation: 1, Member: "m", Token: "t"}} {
		if err := WriteMarker(dir, m); err != nil {
			t.Fatal(err)
		}
		got, err := ReadMarker(dir)
		if diff := cmp.Diff(&m, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the marker: %v, %v", entries, err)
	}
}

func TestIncompleteMarkersAreNotWritten(t *testing.T) {
	dir := t.TempDir()
	for _, spoil := range []func(*Marker){
		func(m *Marker) { m.UID = "" }, func(m *Marker) { m.Generation = 0 },
		func(m *Marker) { m.Member = "" }, func(m *Marker) { m.Token = "" },
	} {
		m := whole
		spoil(&m)
		if err := WriteMarker(dir, m); err == nil {
			t.Errorf("%+v was written", m)
		}
	}
	if _, err := os.Stat(MarkerPath(dir)); err == nil {
		t.Error("something was written")
	}
}

func TestDamagedMarkersAreErrors(t *testing.T) {
	good := `{"uid":"u","generation":1,"member":"m","token":"t"}`
	if _, err := ParseMarker([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "null": "null", "zeros": strings.Repeat("\x00", 80), "cut": good[:20], "array": "[" + good + "]",
		"twice": good + good, "unknown field": good[:len(good)-1] + `,"x":1}`, "field twice": good[:len(good)-1] + `,"uid":"v"}`,
		"other case": strings.Replace(good, "uid", "UID", 1), "generation 0": strings.Replace(good, "1", "0", 1),
		"no member": strings.Replace(good, `"m"`, `""`, 1), "too long": good + strings.Repeat(" ", maxMarker),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(MarkerPath(dir), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if m, err := ReadMarker(dir); err == nil {
				t.Errorf("it was read as %+v", m)
			}
			if _, err := Inspect(t.Context(), dir, Options{}); err == nil || !has(err.Error(), dir) {
				t.Errorf("Inspect: %v", err)
			}
		})
	}
}

func TestAPipeForAMarkerBlocksNobody(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(MarkerPath(dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadMarker(dir); err == nil {
		t.Error("it was read")
	}
}

func FuzzParseMarker(f *testing.F) {
	whole, err := json.Marshal(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"uid":"u","generation":1,"member":"m","token":"t"}`))
	f.Add([]byte(`{"uid":"u","generation":1e3,"member":"\ud800","token":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMarker(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseMarker(again)
		if diff := cmp.Diff(m, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	})
}
