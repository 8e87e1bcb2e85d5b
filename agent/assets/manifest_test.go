package assets

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

var zeros, ones = strings.Repeat("0", 64), strings.Repeat("1", 64)

func manifestOf(objects ...string) string {
	return `{"version": 1, "objects": [` + strings.Join(objects, ",") + `]}`
}

func objectOf(path string, size int64, sha256 string) string {
	chunk := fmt.Sprintf(`{"sha256": %q, "blake3": %q}`, zeros, ones)
	chunks := strings.TrimSuffix(strings.Repeat(chunk+",", chunkCount(size)), ",")
	return fmt.Sprintf(`{"path": %q, "size": %d, "sha256": %q, "chunks": [%s]}`, path, size, sha256, chunks)
}

func TestParseManifest(t *testing.T) {
	m, err := ParseManifest([]byte(manifestOf(objectOf("a/b", 1, zeros), objectOf("a/c", ChunkSize+1, ones), objectOf("b", 0, zeros[:63]+"2"))))
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := m.Lookup("a/c"); !ok || len(o.Chunks) != 2 {
		t.Errorf("Lookup(a/c) = %+v, %v", o, ok)
	}
	if _, ok := m.Lookup("a"); ok {
		t.Error("Lookup(a) found a directory")
	}
	if under := m.Under("a"); len(under) != 2 {
		t.Errorf("Under(a) = %d objects, want 2", len(under))
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := again.Encode(); err != nil || !bytes.Equal(twice, data) {
		t.Errorf("a manifest that was read back encodes differently: %v", err)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	good := objectOf("a", 1, zeros)
	for name, text := range map[string]string{
		"no JSON":               "",
		"another version":       `{"version": 2, "objects": []}`,
		"an unknown field":      `{"version": 1, "objects": [], "more": 1}`,
		"data after the end":    manifestOf(good) + "{}",
		"a path twice":          manifestOf(good, good),
		"paths out of order":    manifestOf(objectOf("b", 1, zeros), good),
		"a file as directory":   manifestOf(good, objectOf("a-", 1, zeros), objectOf("a/b", 1, zeros)),
		"an absolute path":      manifestOf(objectOf("/a", 1, zeros)),
		"a path that climbs":    manifestOf(objectOf("a/../../b", 1, zeros)),
		"an empty path":         manifestOf(objectOf("", 1, zeros)),
		"the root":              manifestOf(objectOf(".", 1, zeros)),
		"a trailing slash":      manifestOf(objectOf("a/", 1, zeros)),
		"a backslash":           manifestOf(objectOf(`a\b`, 1, zeros)),
		"a control character":   manifestOf(objectOf("a\nb", 1, zeros)),
		"a long path":           manifestOf(objectOf(strings.Repeat("a/", 600)+"a", 1, zeros)),
		"a long name":           manifestOf(objectOf(strings.Repeat("a", 256), 1, zeros)),
		"a negative size":       manifestOf(`{"path": "a", "size": -1, "sha256": "` + zeros + `"}`),
		"an enormous size":      manifestOf(`{"path": "a", "size": 9223372036854775807, "sha256": "` + zeros + `"}`),
		"too few chunks":        manifestOf(strings.Replace(objectOf("a", ChunkSize, zeros), `"size": 8388608`, `"size": 8388609`, 1)),
		"chunks of nothing":     manifestOf(strings.Replace(good, `"size": 1`, `"size": 0`, 1)),
		"an upper-case digest":  manifestOf(objectOf("a", 1, strings.Repeat("A", 64))),
		"a short digest":        manifestOf(objectOf("a", 1, zeros[1:])),
		"a digest as a path":    manifestOf(objectOf("a", 1, "../../../../../../../../../../../../../../../../../../../../etc/x")),
		"a short chunk digest":  manifestOf(strings.Replace(good, ones, ones[1:], 1)),
		"one digest, two sizes": manifestOf(good, objectOf("b", 2, zeros)),
	} {
		if m, err := ParseManifest([]byte(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, m)
		}
	}
}

// FuzzParseManifest: whatever is accepted is safe to join to a directory, and stable.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(manifestOf()))
	f.Add([]byte(manifestOf(objectOf("a/b", 1, zeros), objectOf("c", ChunkSize+1, ones))))
	f.Add([]byte(`{"version":1,"objects":[{"path":"../a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		for _, o := range m.Objects {
			if strings.HasPrefix(o.Path, "/") || strings.Contains("/"+o.Path+"/", "/../") || len(o.Chunks) != chunkCount(o.Size) {
				t.Errorf("accepted %+v", o)
			}
		}
		once, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseManifest(once)
		if err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		if twice, _ := again.Encode(); !bytes.Equal(once, twice) {
			t.Error("encoding is not stable")
		}
	})
}
