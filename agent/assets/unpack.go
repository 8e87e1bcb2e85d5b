package assets

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"rekindle/agent/status"
)

// Limits bounds what an archive may unpack to.
type Limits struct {
	Bytes   int64 // of all files together; default 8 GiB
	Entries int   // files, directories and links; default 100,000
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 8 << 30
	}
	if l.Entries <= 0 {
		l.Entries = 100_000
	}
	return l
}

// Entry is one thing that was unpacked.
type Entry struct {
	Path    string      `json:"path"` // relative to the directory
	Mode    fs.FileMode `json:"mode"`
	Size    int64       `json:"size,omitempty"` // of a file, in bytes
	ModTime time.Time   `json:"modTime,omitzero"`
	Target  string      `json:"target,omitempty"` // of a symbolic link
}

// stampName is the file inside an unpacked directory that says which archive it is from. It comes and goes with the
// directory, so an unpacking that was interrupted cannot look complete.
const stampName = ".rekindle-unpacked.json"

// unpacked is the stamp's content.
type unpacked struct {
	Archive string  `json:"archive"` // sha256
	Entries []Entry `json:"entries"`
}

// Unpack makes dir hold exactly what archive does: a tar, plain or compressed with gzip or zstd. It unpacks beside dir and
// swaps the two in one step, so dir is always the old tree or the new; anything else that was in dir is gone. When dir is
// from this very archive already, and its files are untouched, it does nothing.
//
// Paths and links that lead out of dir, absolute links, devices, and more than limits allow are refused, and then dir is
// as it was. Owners and set-id bits are not taken over.
func Unpack(ctx context.Context, archive, dir string, limits Limits) ([]Entry, error) {
	entries, err := unpack(ctx, archive, filepath.Clean(dir), limits.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("unpack %s to %s: %w", archive, dir, err)
	}
	return entries, nil
}

func unpack(ctx context.Context, archive, dir string, limits Limits) ([]Entry, error) {
	digest, err := archiveDigest(ctx, archive)
	if err != nil {
		return nil, err
	}
	if entries, ok := alreadyUnpacked(dir, digest); ok {
		return entries, nil
	}
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := sweep(dir); err != nil {
		return nil, err
	}
	beside, err := os.MkdirTemp(filepath.Dir(dir), besidePrefix(dir))
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(beside) // after the swap this is the old tree
	entries, err := unpackInto(ctx, f, beside, digest, limits)
	if errors.Is(err, errRefused) {
		return nil, status.Fail(status.ReasonAssetCorrupt, "repack the archive without it, and publish again", err)
	}
	if err != nil {
		return nil, err
	}
	return entries, swap(beside, dir)
}

func unpackInto(ctx context.Context, archive io.Reader, dir, digest string, limits Limits) ([]Entry, error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	plain, err := decompress(&ctxReader{ctx, archive})
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	entries, err := untar(plain, root, limits)
	if err != nil {
		return nil, err
	}
	stamp, err := json.Marshal(unpacked{digest, entries})
	if err != nil {
		return nil, err
	}
	if err := root.WriteFile(stampName, stamp, 0o644); err != nil {
		return nil, err
	}
	return entries, syncTree(dir)
}

// archiveDigest identifies the archive. An object of the cache carries its digest in its name, and was verified.
func archiveDigest(ctx context.Context, path string) (string, error) {
	if name := filepath.Base(path); isDigest(name) {
		return name, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, &ctxReader{ctx, f}, make([]byte, bufferSize)); err != nil {
		return "", err
	}
	return sum(h), nil
}

// alreadyUnpacked reports whether dir is from the archive and nobody changed it since, as far as sizes, modes, times and
// link targets tell.
func alreadyUnpacked(dir, digest string) ([]Entry, bool) {
	data, err := os.ReadFile(filepath.Join(dir, stampName))
	var then unpacked
	if err != nil || json.Unmarshal(data, &then) != nil || then.Archive != digest {
		return nil, false
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, false
	}
	defer root.Close()
	for _, want := range then.Entries {
		got, err := entryAt(root, want.Path)
		if err != nil || got.Mode != want.Mode || got.Size != want.Size || !got.ModTime.Equal(want.ModTime) || got.Target != want.Target {
			return nil, false
		}
	}
	return then.Entries, true
}

// entryAt describes what is on disk. The times of directories and links say nothing about content.
func entryAt(root *os.Root, path string) (Entry, error) {
	info, err := root.Lstat(path)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Path: path, Mode: info.Mode()}
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		e.Mode = fs.ModeSymlink
		e.Target, err = root.Readlink(path)
	case 0:
		e.Size, e.ModTime = info.Size(), info.ModTime()
	}
	return e, err
}

// decompress looks at the first bytes, since names lie.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, bufferSize)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

func besidePrefix(dir string) string { return "." + filepath.Base(dir) + ".unpack-" }

// sweep removes what interrupted unpackings of the same directory left beside it.
func sweep(dir string) error {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), besidePrefix(dir)) {
			if err := os.RemoveAll(filepath.Join(filepath.Dir(dir), entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// swap puts the new tree in dir's place and leaves the old one, if there is one, in its own.
func swap(beside, dir string) error {
	err := unix.Renameat2(unix.AT_FDCWD, beside, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, unix.ENOENT):
		err = os.Rename(beside, dir)
	case errors.Is(err, unix.EINVAL): // a file system without exchange: the two steps are as close as can be
		old := beside + ".old"
		if err = os.Rename(dir, old); err == nil {
			err = os.Rename(beside, dir)
		}
		defer os.RemoveAll(old)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// syncTree writes the file system that holds dir to disk: one call instead of one per file.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
