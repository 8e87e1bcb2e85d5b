package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// uploads is where blobs grow until they are whole. It is no part of the store's content.
const uploads = ".uploads"

// Upload implements Blobs. What a killed process left behind is removed by the next upload.
func (d *Dir) Upload(ctx context.Context, key string, r io.Reader) (Blob, error) {
	path, err := d.path(key)
	if err != nil {
		return Blob{}, err
	}
	if _, err := os.Lstat(path); err == nil {
		return Blob{}, fmt.Errorf("%s/%s: %w", d, key, ErrConflict)
	}
	file, err := d.begin()
	if err != nil {
		return Blob{}, fmt.Errorf("%s/%s: upload: %w", d, key, err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	ctx, watch := watched(ctx, stallLimit)
	defer watch.stop()
	if err := receive(ctx, file, cut(ctx, r, watch)); err != nil {
		return Blob{}, fmt.Errorf("%s/%s: upload: %w", d, key, because(ctx, err))
	}
	if err := publish(file, path); errors.Is(err, fs.ErrExist) {
		return Blob{}, fmt.Errorf("%s/%s: %w", d, key, ErrConflict)
	} else if err != nil {
		return Blob{}, fmt.Errorf("%s/%s: upload: %w", d, key, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Blob{}, fmt.Errorf("%s/%s: %w", d, key, err)
	}
	return blobOf(key, info), nil
}

// begin makes a file to write to, locked for as long as it is open, and removes those that nobody has open.
func (d *Dir) begin() (*os.File, error) {
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := filepath.Join(d.root, uploads)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range left {
		if err := removeForgotten(filepath.Join(dir, entry.Name())); err != nil {
			return nil, err
		}
	}
	file, err := os.CreateTemp(dir, "")
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	return file, nil
}

func removeForgotten(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	switch err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil
	case err != nil:
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// receive writes the parts, in turn, down to the disk.
func receive(ctx context.Context, file *os.File, parts *parts) error {
	for {
		next, err := parts.next(ctx)
		if err != nil {
			return err
		}
		if _, err := file.Write(next.data); err != nil {
			return err
		}
		if next.last {
			return file.Sync()
		}
		parts.done(next)
	}
}

// publish gives a whole file its name, unless that is taken.
func publish(file *os.File, path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil {
		return err
	}
	parent, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

func blobOf(key string, info fs.FileInfo) Blob {
	version := fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano())
	return Blob{Key: key, Size: info.Size(), Modified: info.ModTime(), Version: Version(version)}
}

// Open implements Blobs.
func (d *Dir) Open(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	path, err := d.path(key)
	if err := errors.Join(err, span(offset, length)); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, d.missing(key)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", d, err), file.Close())
	}
	if offset+length > info.Size() || offset > 0 && offset == info.Size() {
		err := fmt.Errorf("%s/%s: %w: %d bytes from %d of %d", d, key, io.ErrUnexpectedEOF, length, offset, info.Size())
		return nil, errors.Join(err, file.Close())
	}
	if length == 0 {
		length = info.Size() - offset
	}
	return struct {
		io.Reader
		io.Closer
	}{&whole{io.NewSectionReader(file, offset, length), length}, file}, nil
}

// whole is a reader that must not end before left bytes: a file may be cut while it is read.
type whole struct {
	io.Reader
	left int64
}

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if w.left -= int64(n); errors.Is(err, io.EOF) && w.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// missing tells an absent object from an absent store: an unmounted directory says nothing about what it holds.
func (d *Dir) missing(key string) error {
	if _, err := os.Stat(d.root); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return fmt.Errorf("%s/%s: %w", d, key, ErrAbsent)
}

// Blobs implements Blobs.
func (d *Dir) Blobs(ctx context.Context, prefix string) ([]Blob, error) {
	keys, err := d.List(ctx, prefix, 0)
	if err != nil {
		return nil, err
	}
	var blobs []Blob
	for _, key := range keys {
		if strings.HasPrefix(key, uploads+"/") {
			continue
		}
		info, err := os.Stat(filepath.Join(d.root, filepath.FromSlash(key)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("%s: list %q: %w", d, prefix, err)
		}
		blobs = append(blobs, blobOf(key, info))
	}
	return blobs, nil
}

// Trace implements Blobs. A directory keeps nothing of what was removed.
func (d *Dir) Trace(ctx context.Context, prefix string) (bool, error) {
	blobs, err := d.Blobs(ctx, prefix)
	return len(blobs) > 0, err
}

// Remove implements Blobs.
func (d *Dir) Remove(_ context.Context, key string) error {
	path, err := d.path(key)
	if err != nil {
		return err
	}
	err = os.Remove(path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s/%s: %w: %w", d, key, ErrLocked, err)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", d, err)
	}
	if err := d.missing(key); !errors.Is(err, ErrAbsent) {
		return err
	}
	return nil
}
