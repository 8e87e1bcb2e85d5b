package assets

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// sourceKinds makes each kind of source with the same content.
var sourceKinds = map[string]func(t *testing.T, files map[string][]byte) Source{
	"dir": func(t *testing.T, files map[string][]byte) Source { return NewDir(tree(t, files)) },
	"https": func(t *testing.T, files map[string][]byte) Source {
		dir := http.FileServer(http.Dir(tree(t, files)))
		return newMirror(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etagOf(files[strings.TrimPrefix(r.URL.Path, "/")]))
			dir.ServeHTTP(w, r)
		})
	},
	"https without ranges": func(t *testing.T, files map[string][]byte) Source {
		return newMirror(t, func(w http.ResponseWriter, r *http.Request) {
			data, ok := files[strings.TrimPrefix(r.URL.Path, "/")]
			switch {
			case !ok:
				http.NotFound(w, r)
			case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != etagOf(data):
				w.WriteHeader(http.StatusPreconditionFailed)
			default:
				w.Header().Set("ETag", etagOf(data))
				w.Header().Set("Content-Length", strconv.Itoa(len(data)))
				_, _ = w.Write(data)
			}
		})
	},
	"s3": func(t *testing.T, files map[string][]byte) Source {
		server, client := newS3Server(t)
		for key, data := range files {
			server.objects["pre/fix/"+key] = s3Object{data: data, etag: etagOf(data)}
		}
		server.objects["pre/fixture"] = s3Object{data: []byte("not below the prefix")}
		return NewS3(client, "bucket", "/pre/fix/")
	},
}

func newMirror(t *testing.T, handler http.HandlerFunc) *HTTP {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(func() { server.Client().CloseIdleConnections(); server.Close() })
	return NewHTTP(server.Client(), server.URL+"/")
}

// TestSource is what every kind of source promises.
func TestSource(t *testing.T) {
	data := noise(1, 1<<20)
	files := map[string][]byte{"a.tar": data, "roles/x y/+ü.conf": []byte("x"), "roles/b": []byte("bb"), "empty": {}, "z": []byte("z")}
	for name, create := range sourceKinds {
		t.Run(name, func(t *testing.T) {
			src := create(t, files)
			read := func(key string, r Range) ([]byte, error) {
				body, err := src.Get(t.Context(), key, r)
				if err != nil {
					return nil, err
				}
				defer body.Close()
				return io.ReadAll(body)
			}
			for key, want := range files {
				if got, err := read(key, Range{}); err != nil || !bytes.Equal(got, want) {
					t.Errorf("Get(%q) = %d bytes, %v; want %d bytes", key, len(got), err, len(want))
				}
				info, err := src.Stat(t.Context(), key)
				if err != nil || info.Size != int64(len(want)) || info.Key != key || info.ETag == "" {
					t.Errorf("Stat(%q) = %+v, %v", key, info, err)
				}
				if _, err := read(key, Range{ETag: info.ETag}); err != nil {
					t.Errorf("Get(%q) of its present version: %v", key, err)
				}
				if _, err := read(key, Range{ETag: `"other"`}); !errors.Is(err, ErrChanged) {
					t.Errorf("Get(%q) of another version: %v, want ErrChanged", key, err)
				}
			}
			if got, err := read("a.tar", Range{Offset: 1000, Length: 5000}); err != nil || !bytes.Equal(got, data[1000:6000]) {
				t.Errorf("range: %d bytes, %v", len(got), err)
			}
			if _, err := read("z", Range{Offset: 0, Length: 5}); err == nil && name != "https without ranges" {
				t.Error("range beyond the end: no error")
			}
			for _, missing := range []string{"nothing", "a.tar/below", "roles"} {
				if name == "https" && missing == "roles" {
					continue // a listing for people; it is never asked for
				}
				if _, err := read(missing, Range{}); !errors.Is(err, ErrNotFound) {
					t.Errorf("Get(%q): %v, want ErrNotFound", missing, err)
				}
				if _, err := src.Stat(t.Context(), missing); !errors.Is(err, ErrNotFound) {
					t.Errorf("Stat(%q): %v, want ErrNotFound", missing, err)
				}
			}
			testList(t, src, "", []string{"a.tar", "empty", "roles/b", "roles/x y/+ü.conf", "z"})
			testList(t, src, "roles/", []string{"roles/b", "roles/x y/+ü.conf"})
			testList(t, src, "none/", nil)
		})
	}
}

func testList(t *testing.T, src Source, prefix string, want []string) {
	t.Helper()
	var got []string
	for info, err := range src.List(t.Context(), prefix) {
		if errors.Is(err, ErrNoListing) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("List(%q) = %q, want %q", prefix, got, want)
	}
}

func TestDirKeepsInside(t *testing.T) {
	secret := tree(t, map[string][]byte{"secret": []byte("s")})
	dir := tree(t, map[string][]byte{"a": []byte("a")})
	if err := os.Symlink(secret+"/secret", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if _, err := NewDir(dir).Get(t.Context(), "link", Range{}); err == nil {
		t.Error("a link that leads out of the store was followed")
	}
	if _, err := NewDir(dir).Get(t.Context(), "../"+secret, Range{}); err == nil {
		t.Error("a path that leads out of the store was followed")
	}
}

func TestParseSource(t *testing.T) {
	for ref, want := range map[string]string{
		"s3://bucket":                 "s3://bucket",
		"s3://bucket/a/b/":            "s3://bucket/a/b",
		"https://mirror.example/x/":   "https://mirror.example/x",
		"http://127.0.0.1:8080/store": "http://127.0.0.1:8080/store",
		"dir:///srv/store/":           "dir:///srv/store",
		"http://mirror.example":       "",
		"s3:///key":                   "",
		"s3://bucket/a/../b":          "",
		"dir://relative/path":         "",
		"https://u:p@host/":           "",
		"https://host/?x=1":           "",
		"ftp://host":                  "",
		"/srv/store":                  "",
		"":                            "",
	} {
		src, err := ParseSource(ref, func(string) *s3.Client { return nil }, http.DefaultClient)
		if (err != nil) != (want == "") || (err == nil && src.String() != want) {
			t.Errorf("ParseSource(%q) = %v, %v; want %q", ref, src, err, want)
		}
	}
}
