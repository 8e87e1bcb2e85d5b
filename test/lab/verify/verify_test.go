package verify

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"08080808:0035":                         "8.8.8.8:53",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"0000000000000000FFFF00000100007F:0050": "[::ffff:127.0.0.1]:80",
		"xyz":                                   "",
		"0100007F":                              "",
	} {
		got, ok := parseAddress(text)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v %t, want %q", text, got, ok, want)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct{ name, text, kind, want string }{
		{"pod", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "Pod", ""},
		{"pod with a misspelt field", "apiVersion: v1\nkind: Pod\nspec: {container: []}\n", "Pod", `unknown field "container"`},
		{"kubelet", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 3\n", "KubeletConfiguration", ""},
		{"no object", "a: b\n", "", ""},
		{"no YAML", "\x00\x01", "", ""},
		{"unknown kind", "apiVersion: x/v1\nkind: Yak\n", "Yak (not checked)", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, err := decode([]byte(c.text))
			if kind != c.kind {
				t.Errorf("kind %q, want %q", kind, c.kind)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestCompareArchive(t *testing.T) {
	dir := t.TempDir()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "bin/a", Mode: 0o755, Size: 2, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	archive, root := filepath.Join(dir, "a.tar"), filepath.Join(dir, "root")
	if err := os.WriteFile(archive, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := compareArchive(archive, []string{root}); err == nil {
		t.Error("a file that is not there is not missed")
	}
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"hi": "", "ho": "bin/a differs", "h": "bin/a differs", "hi!": "bin/a differs"} {
		if err := os.WriteFile(filepath.Join(root, "bin/a"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		n, err := compareArchive(archive, []string{root})
		if want == "" && (err != nil || n != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %d %v, want %q", text, n, err, want)
		}
	}
}
