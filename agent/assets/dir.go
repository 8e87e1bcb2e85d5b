package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Dir is a store in a directory: a mirror on a mounted disk, or the one that `publish` fills for a laptop.
type Dir struct{ path string }

// NewDir is the store at path, which need not exist yet.
func NewDir(path string) *Dir { return &Dir{filepath.Clean(path)} }

func (d *Dir) String() string { return "dir://" + d.path }

// Get implements Source.
func (d *Dir) Get(ctx context.Context, key string, r Range) (io.ReadCloser, error) {
	f, info, err := d.open(ctx, key)
	if err != nil {
		return nil, err
	}
	if r.ETag != "" && r.ETag != info.ETag {
		return nil, errors.Join(fmt.Errorf("%s: %w", key, ErrChanged), f.Close())
	}
	if r.Length == 0 {
		return f, nil
	}
	if r.Offset+r.Length > info.Size {
		return nil, errors.Join(fmt.Errorf("%s: %d bytes, want %d: %w", key, info.Size, r.Offset+r.Length, io.ErrUnexpectedEOF), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, r.Offset, r.Length), f}, nil
}

// Stat implements Source.
func (d *Dir) Stat(ctx context.Context, key string) (Info, error) {
	f, info, err := d.open(ctx, key)
	if err != nil {
		return Info{}, err
	}
	return info, f.Close()
}

// open resolves key inside the directory: os.Root keeps links from leading out of it.
func (d *Dir) open(ctx context.Context, key string) (*os.File, Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, Info{}, err
	}
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, Info{}, dirError(err)
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(key))
	if err != nil {
		return nil, Info{}, dirError(err)
	}
	stat, err := f.Stat()
	if err != nil {
		return nil, Info{}, errors.Join(dirError(err), f.Close())
	}
	if !stat.Mode().IsRegular() {
		return nil, Info{}, errors.Join(fmt.Errorf("%s: not a regular file: %w", key, ErrNotFound), f.Close())
	}
	return f, fileInfo(key, stat), nil
}

// List implements Source.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		infos, err := d.walk(ctx, prefix)
		if err != nil {
			yield(Info{}, err)
			return
		}
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (d *Dir) walk(ctx context.Context, prefix string) ([]Info, error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, dirError(err)
	}
	defer root.Close()
	var infos []Info
	err = fs.WalkDir(root.FS(), ".", func(key string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !strings.HasPrefix(key, prefix) {
			return err
		}
		stat, err := root.Stat(filepath.FromSlash(key)) // follows a link, as open does
		if err != nil || !stat.Mode().IsRegular() {
			return err
		}
		infos = append(infos, fileInfo(key, stat))
		return nil
	})
	if err != nil {
		return nil, dirError(err)
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Key, b.Key) })
	return infos, nil
}

func fileInfo(key string, stat fs.FileInfo) Info {
	etag := fmt.Sprintf("%x-%x", stat.Size(), stat.ModTime().UnixNano())
	if sys, ok := stat.Sys().(*syscall.Stat_t); ok {
		etag += fmt.Sprintf("-%x", sys.Ino)
	}
	return Info{Key: key, Size: stat.Size(), ETag: etag}
}

func dirError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}
