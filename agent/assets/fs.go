package assets

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Prefetch brings every object below dir into the cache, so that FS can read it. "." is all of them.
func (s *Store) Prefetch(ctx context.Context, dir string) error {
	return s.Fetch(ctx, s.Manifest().Under(dir)...)
}

// FS is the objects below dir as a file system, which reads from the cache: call Prefetch first. A file that is not in the
// cache gives an error that says so, never fs.ErrNotExist. All files have mode 0444 and no
// modification time, since a manifest has neither.
func (s *Store) FS(dir string) fs.FS {
	tree := &objectFS{store: s, files: make(map[string]Object), dirs: map[string][]fs.DirEntry{".": nil}}
	for _, o := range s.Manifest().Under(dir) {
		name := o.Path
		if dir != "." && dir != "" {
			name = strings.TrimPrefix(o.Path, dir+"/")
		}
		if name != o.Path || dir == "." || dir == "" {
			tree.add(name, o)
		}
	}
	for _, entries := range tree.dirs {
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return tree
}

type objectFS struct {
	store *Store
	files map[string]Object
	dirs  map[string][]fs.DirEntry
}

func (t *objectFS) add(name string, o Object) {
	t.files[name] = o
	var entry fs.FileInfo = objectInfo{name: path.Base(name), size: o.Size}
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		_, known := t.dirs[dir]
		t.dirs[dir] = append(t.dirs[dir], fs.FileInfoToDirEntry(entry))
		if known {
			return
		}
		entry = objectInfo{name: path.Base(dir), dir: true}
	}
}

// Open implements fs.FS.
func (t *objectFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if entries, ok := t.dirs[name]; ok {
		return &objectDir{objectInfo{name: path.Base(name), dir: true}, entries}, nil
	}
	o, ok := t.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if !t.store.cache.has(o) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("%s is not in the cache: prefetch it first", o.Path)}
	}
	f, err := os.Open(t.store.File(o))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &objectFile{f, objectInfo{name: path.Base(name), size: o.Size}}, nil
}

// objectFile is an object under its own name instead of its digest.
type objectFile struct {
	*os.File
	info objectInfo
}

func (f *objectFile) Stat() (fs.FileInfo, error) { return f.info, nil }

type objectDir struct {
	info objectInfo
	left []fs.DirEntry
}

func (d *objectDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *objectDir) Close() error               { return nil }
func (d *objectDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: fs.ErrInvalid}
}

// ReadDir implements fs.ReadDirFile.
func (d *objectDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.left)
	} else if len(d.left) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.left))
	entries := slices.Clone(d.left[:n])
	d.left = d.left[n:]
	return entries, nil
}

// objectInfo implements fs.FileInfo.
type objectInfo struct {
	name string
	size int64
	dir  bool
}

func (i objectInfo) Name() string       { return i.name }
func (i objectInfo) Size() int64        { return i.size }
func (i objectInfo) IsDir() bool        { return i.dir }
func (i objectInfo) ModTime() time.Time { return time.Time{} }
func (i objectInfo) Sys() any           { return nil }
func (i objectInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
