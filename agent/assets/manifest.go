package assets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ChunkSize is the unit of verification, of resumption and of S3 parts, in bytes. It is part of the manifest's format.
const ChunkSize = 8 << 20

// Bounds of what a manifest may claim, so that a hostile one cannot exhaust the node.
const (
	maxManifest = 64 << 20 // bytes of JSON
	maxObjects  = 100_000
	maxChunks   = 10_000 // per object: 78 GiB, and the most parts that an S3 upload may have
	maxPath     = 1024   // bytes, as for S3 keys
	maxName     = 255    // bytes of one path element, as for Linux file systems
)

// manifestVersion is the only version of the format there is.
const manifestVersion = 1

// Manifest is manifest.json: every published object, sorted by path.
type Manifest struct {
	Version int      `json:"version"`
	Objects []Object `json:"objects"`
}

// Object is one published file. Digests are lower-case hex.
type Object struct {
	Path   string  `json:"path"` // clean, relative, slash-separated
	Size   int64   `json:"size"` // bytes
	SHA256 string  `json:"sha256"`
	Chunks []Chunk `json:"chunks,omitempty"` // one per ChunkSize bytes; none for an empty object

	// ETag is the version of an object of an unverified prefix, which has no digests. It is empty otherwise.
	ETag string `json:"-"`
}

// Chunk holds the digests of one chunk. The agent verifies with the one that its CPU computes faster.
type Chunk struct {
	SHA256 string `json:"sha256"`
	BLAKE3 string `json:"blake3"`
}

// Lookup is the object at path.
func (m *Manifest) Lookup(path string) (Object, bool) {
	i, ok := slices.BinarySearchFunc(m.Objects, path, func(o Object, p string) int { return strings.Compare(o.Path, p) })
	if !ok {
		return Object{}, false
	}
	return m.Objects[i], true
}

// Under is the objects whose path is dir or lies below it; "." is all of them.
func (m *Manifest) Under(dir string) []Object {
	if dir == "." || dir == "" {
		return m.Objects
	}
	var under []Object
	for _, o := range m.Objects {
		if o.Path == dir || strings.HasPrefix(o.Path, dir+"/") {
			under = append(under, o)
		}
	}
	return under
}

// Encode is the manifest as it is published: the same objects give the same bytes.
func (m *Manifest) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return append(data, '\n'), nil
}

// ParseManifest reads a manifest strictly: unknown fields, sizes and digests that contradict each other, paths that
// are not clean, duplicate or out of order are errors.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("manifest: %d bytes, more than %d", len(data), maxManifest)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	m := new(Manifest)
	if err := decoder.Decode(m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("manifest: data after its end")
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

func (m *Manifest) check() error {
	if m.Version != manifestVersion {
		return fmt.Errorf("version %d; this agent knows version %d, update it", m.Version, manifestVersion)
	}
	if len(m.Objects) > maxObjects {
		return fmt.Errorf("%d objects, more than %d", len(m.Objects), maxObjects)
	}
	files := make(map[string]bool, len(m.Objects))
	sizes := make(map[string]int64, len(m.Objects)) // by digest: one digest has one size
	for i, o := range m.Objects {
		if err := o.check(); err != nil {
			return fmt.Errorf("object %q: %w", o.Path, err)
		}
		if i > 0 && m.Objects[i-1].Path >= o.Path {
			return fmt.Errorf("object %q: not in order, or twice", o.Path)
		}
		if size, seen := sizes[o.SHA256]; seen && size != o.Size {
			return fmt.Errorf("object %q: another object has its digest and a different size", o.Path)
		}
		sizes[o.SHA256] = o.Size
		files[o.Path] = true
	}
	for _, o := range m.Objects {
		for dir := range parents(o.Path) {
			if files[dir] {
				return fmt.Errorf("object %q: %q is an object, so it cannot be a directory", o.Path, dir)
			}
		}
	}
	return nil
}

func (o Object) check() error {
	if err := checkPath(o.Path); err != nil {
		return err
	}
	if o.Size < 0 || o.Size > maxChunks*ChunkSize {
		return fmt.Errorf("size %d is out of range", o.Size)
	}
	if !isDigest(o.SHA256) {
		return errors.New("sha256 is not 64 lower-case hex digits")
	}
	if len(o.Chunks) != chunkCount(o.Size) {
		return fmt.Errorf("%d chunks, but %d bytes have %d", len(o.Chunks), o.Size, chunkCount(o.Size))
	}
	for i, c := range o.Chunks {
		if !isDigest(c.SHA256) || !isDigest(c.BLAKE3) {
			return fmt.Errorf("chunk %d: a digest is not 64 lower-case hex digits", i)
		}
	}
	return nil
}

// chunkSpan is where chunk i of an object of size bytes begins and how long it is.
func chunkSpan(size int64, i int) (offset, length int64) {
	offset = int64(i) * ChunkSize
	return offset, min(ChunkSize, size-offset)
}

func chunkCount(size int64) int { return int((size + ChunkSize - 1) / ChunkSize) }

// checkPath refuses what could mean two things, or something outside the directory that it is joined to.
func checkPath(path string) error {
	switch {
	case !fs.ValidPath(path) || path == ".":
		return errors.New("path is not clean and relative")
	case len(path) > maxPath:
		return fmt.Errorf("path is longer than %d bytes", maxPath)
	case !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) || strings.Contains(path, `\`):
		return errors.New("path has control characters or backslashes")
	}
	for name := range strings.SplitSeq(path, "/") {
		if len(name) > maxName {
			return fmt.Errorf("path element is longer than %d bytes", maxName)
		}
	}
	return nil
}

func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// parents yields the directories above path, the nearest last.
func parents(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i, c := range []byte(path) {
			if c == '/' && !yield(path[:i]) {
				return
			}
		}
	}
}
