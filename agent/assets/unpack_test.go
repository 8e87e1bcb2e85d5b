package assets

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"rekindle/agent/status"
)

// file, dir and link are the entries that most archives are made of.
func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content)), Linkname: content, ModTime: time.Unix(1e9, 0)}
}
func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o555} }
func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}
func hardlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

// tarOf packs headers; a regular file's content is in its Linkname.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstded(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func archived(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnpack(t *testing.T) {
	plain := tarOf(t, dir("./"), file("./bin/bridge", "b"), dir("etc"), file("etc/conf", "old"), file("etc/conf", "new"),
		symlink("bin/link", "../etc/conf"), symlink("dangling", "etc/none"), hardlink("bin/hard", "./bin/bridge"), file(strings.Repeat("d/", 60)+"deep", "x"))
	for name, data := range map[string][]byte{"tar": plain, "gzip": gzipped(t, plain), "zstd": zstded(t, plain)} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			if err := Unpack(t.Context(), archived(t, data), to, Limits{}); err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]string{"bin/bridge": "b", "bin/hard": "b", "bin/link": "new", "etc/conf": "new"} {
				if got, err := os.ReadFile(filepath.Join(to, path)); err != nil || string(got) != want {
					t.Errorf("%s = %q, %v; want %q", path, got, err, want)
				}
			}
			info, err := os.Stat(to + "/bin/bridge")
			if err != nil || info.Mode().Perm() != 0o755 || !info.ModTime().Equal(time.Unix(1e9, 0)) {
				t.Errorf("bin/bridge: %v, %v", info, err)
			}
			if entries, err := os.ReadDir(to); err != nil || len(entries) != 4 {
				t.Errorf("%v, %v", entries, err)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"a path that climbs":            {file("../evil", "x")},
		"a path that climbs later":      {file("a/../../evil", "x")},
		"an absolute path":              {file("/evil", "x")},
		"an absolute link":              {symlink("l", "/etc/passwd")},
		"a link that climbs":            {symlink("l", "../evil")},
		"a link that climbs from below": {symlink("a/l", "../../evil")},
		"links that climb together":     {dir("x/y"), symlink("x/y/up", "../.."), symlink("x/y/out", "up/../evil")},
		"a write through a link":        {symlink("l", "."), symlink("l2", "l/.."), file("l2/evil", "x")},
		"links in a circle":             {symlink("a", "b"), symlink("b", "a")},
		"a hard link out":               {hardlink("h", "../../etc/passwd")},
		"an absolute hard link":         {hardlink("h", "/etc/passwd")},
		"a hard link to what is not":    {hardlink("h", "nothing")},
		"a hard link to a link":         {symlink("l", "a"), hardlink("h", "l")},
		"a character device":            {{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}},
		"a block device":                {{Typeflag: tar.TypeBlock, Name: "sda"}},
		"a pipe":                        {{Typeflag: tar.TypeFifo, Name: "p"}},
		"an unknown type":               {{Typeflag: 'Z', Name: "z"}},
		"more bytes than allowed":       {file("a", strings.Repeat("x", 600)), file("b", strings.Repeat("x", 600))},
		"more entries than allowed":     {dir("1"), dir("2"), dir("3"), dir("4"), dir("5"), dir("6")},
		"a file below a file":           {file("a", "x"), file("a/b", "y")},
		"a file in place of a full dir": {file("a/b", "y"), file("a", "x")},
		"a control character":           {file("a\x01b", "x")},
	} {
		parent := t.TempDir()
		to := tmpMkdir(t, filepath.Join(parent, "here"))
		err := Unpack(t.Context(), archived(t, tarOf(t, headers...)), to, Limits{Bytes: 1000, Entries: 5})
		if reason, _ := status.ReasonOf(err); reason != status.ReasonAssetCorrupt || !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, _ := os.ReadDir(parent); len(entries) != 1 {
			t.Errorf("%s: something is beside the directory: %v", name, entries)
		}
	}
}

func tmpMkdir(t testing.TB, path string) string {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnpackBroken(t *testing.T) {
	whole := gzipped(t, tarOf(t, file("a", strings.Repeat("x", 10000))))
	for name, data := range map[string][]byte{"cut off": whole[:len(whole)/2], "no archive": []byte(strings.Repeat("no tar", 200)), "short": []byte("ab")} {
		if err := Unpack(t.Context(), archived(t, data), t.TempDir(), Limits{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzUntar: whatever an archive holds, nothing appears outside the directory, and no link in it leads out.
func FuzzUntar(f *testing.F) {
	f.Add(tarOf(f, dir("d"), file("d/a", "x"), symlink("l", "d/a"), hardlink("h", "d/a")))
	f.Add(tarOf(f, dir("x/y"), symlink("x/y/up", "../.."), symlink("x/y/out", "up/../evil")))
	f.Add(gzipped(f, tarOf(f, file("a", "x"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		to := tmpMkdir(t, filepath.Join(parent, "d"))
		root, err := os.OpenRoot(to)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		plain, err := decompress(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer plain.Close()
		err = untar(plain, root, Limits{Bytes: 1 << 20, Entries: 100})
		if beside, errRead := os.ReadDir(parent); errRead != nil || len(beside) != 1 {
			t.Fatalf("beside the directory: %v, %v", beside, errRead)
		}
		if err != nil {
			return
		}
		errWalk := filepath.WalkDir(to, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Type()&fs.ModeSymlink == 0 {
				return err
			}
			if real, err := filepath.EvalSymlinks(path); err == nil && real != to && !strings.HasPrefix(real, to+"/") {
				t.Errorf("%s leads to %s", path, real)
			}
			return nil
		})
		if errWalk != nil {
			t.Error(errWalk)
		}
	})
}
