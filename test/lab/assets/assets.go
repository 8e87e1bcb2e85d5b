// Package assets fills a directory with what roles ask of a store, for those who have no real assets at hand: the real
// etcd, and stand-ins for everything that needs root to run.
package assets

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"rekindle/test/lab/binaries"
)

// pluginNames are what a CNI plugins archive holds, of those that roles look for.
var pluginNames = []string{"bridge", "host-local", "loopback", "portmap"}

// Make writes every object, a path in the store, below dir.
func Make(dir string, objects []string, b binaries.Set) error {
	var errs []error
	for _, object := range slices.Compact(slices.Sorted(slices.Values(objects))) {
		if err := makeOne(filepath.Join(dir, object), path.Base(object), b); err != nil {
			errs = append(errs, fmt.Errorf("asset %s: %w", object, err))
		}
	}
	return errors.Join(errs...)
}

func makeOne(to, name string, b binaries.Set) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if from, ok := program(name, b); ok {
		return link(from, to)
	}
	if !strings.Contains(name, ".t") {
		return errors.New("there is no stand-in for it: give your own with --assets DIR")
	}
	switch {
	case strings.HasPrefix(name, "cni-plugins"):
		return archive(to, programs(b.Standin, "", pluginNames...))
	case strings.HasPrefix(name, "containerd"):
		return archive(to, programs(b.Standin, "bin/", "containerd", "ctr", "containerd-shim-runc-v2"))
	case strings.HasPrefix(name, "crictl"):
		return archive(to, programs(b.Standin, "", "crictl"))
	case strings.HasPrefix(name, "etcd"):
		return archive(to, map[string]source{"etcd": {file: b.Etcd}})
	}
	return archive(to, imageArchive())
}

func program(name string, b binaries.Set) (path string, ok bool) {
	switch name {
	case "kubelet":
		return b.Kubelet, true
	case "etcd":
		return b.Etcd, true
	case "containerd", "containerd-shim-runc-v2", "ctr", "runc", "crictl", "ecr-credential-provider":
		return b.Standin, true
	}
	return "", false
}

// link avoids a copy where it can: the objects are read, never written.
func link(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// source is the content of a file in an archive.
type source struct {
	file string // on disk, executable; or
	text string
}

func programs(from, prefix string, names ...string) map[string]source {
	all := map[string]source{}
	for _, name := range names {
		all[prefix+name] = source{file: from}
	}
	return all
}

// imageArchive is the least that is an image archive: an OCI layout with an empty index.
func imageArchive() map[string]source {
	return map[string]source{
		"oci-layout": {text: `{"imageLayoutVersion":"1.0.0"}`},
		"index.json": {text: `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`},
	}
}

// archive writes a tar archive, compressed as its name says. The same files always give the same bytes.
func archive(to string, files map[string]source) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, finish, err := compress(f, to)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	first := map[string]string{} // by the file on disk: where it is in the archive
	for _, name := range slices.Sorted(maps.Keys(files)) {
		from := files[name].file
		if there, ok := first[from]; ok { // one program under several names, as such archives have it
			err = t.WriteHeader(&tar.Header{Name: name, Linkname: there, Mode: 0o755, Typeflag: tar.TypeLink})
		} else {
			err = add(t, name, files[name])
		}
		if err != nil {
			return err
		}
		if from != "" {
			first[from] = name
		}
	}
	return errors.Join(t.Close(), finish())
}

func compress(f io.Writer, name string) (w io.Writer, finish func() error, err error) {
	switch {
	case strings.HasSuffix(name, "gz"):
		z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
		return z, z.Close, err
	case strings.HasSuffix(name, "zst"):
		z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return f, func() error { return nil }, nil
}

func add(t *tar.Writer, name string, s source) error {
	data, mode := []byte(s.text), int64(0o644)
	if s.file != "" {
		var err error
		if data, err = os.ReadFile(s.file); err != nil {
			return err
		}
		mode = 0o755
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}
