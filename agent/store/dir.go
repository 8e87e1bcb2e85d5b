package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// Dir keeps records and blobs in a directory. A lock file in it makes compare-and-swap hold between the processes of one host;
// on a network file system it holds as far as flock does there.
type Dir struct{ root string }

// NewDir is the records and blobs under path.
func NewDir(path string) *Dir { return &Dir{root: path} }

func (d *Dir) String() string { return "dir://" + d.root }

func (d *Dir) path(key string) (string, error) {
	if !fs.ValidPath(key) || key == "." {
		return "", fmt.Errorf("%s: key %q: not a clean relative path", d, key)
	}
	return filepath.Join(d.root, filepath.FromSlash(key)), nil
}

// Get implements Records.
func (d *Dir) Get(_ context.Context, key string) ([]byte, Version, error) {
	path, err := d.path(key)
	if err != nil {
		return nil, "", err
	}
	return d.read(path, key)
}

func (d *Dir) read(path, key string) ([]byte, Version, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", d.missing(key)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", d, err)
	}
	defer file.Close()
	data, err := readRecord(file)
	if err != nil {
		return nil, "", fmt.Errorf("%s/%s: %w", d, key, err)
	}
	return data, version(data), nil
}

func version(data []byte) Version {
	sum := sha256.Sum256(data)
	return Version(hex.EncodeToString(sum[:]))
}

// Put implements Records.
func (d *Dir) Put(ctx context.Context, key string, data []byte, was Version) (Version, error) {
	path, err := d.path(key)
	if err != nil {
		return "", err
	}
	unlock, err := d.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	_, now, err := d.read(path, key)
	if err != nil && !errors.Is(err, ErrAbsent) {
		return "", err
	}
	if now != was {
		return "", fmt.Errorf("%s/%s: %w", d, key, ErrConflict)
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("%s: %w", d, err)
	}
	if err := renameio.WriteFile(path, data, 0o600); err != nil {
		return "", fmt.Errorf("%s: %w", d, err)
	}
	return version(data), nil
}

// lock takes the store's lock file. Records are written rarely and in microseconds, so waiting needs no deadline.
func (d *Dir) lock() (func(), error) {
	file, err := os.OpenFile(filepath.Join(d.root, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: lock: %w", d, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: lock: %w", d, err), file.Close())
	}
	return func() { _ = file.Close() }, nil // closing releases the lock
}

// List implements Records.
func (d *Dir) List(ctx context.Context, prefix string, limit int) ([]string, error) {
	if _, err := os.Stat(d.root); err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	var keys []string
	err := filepath.WalkDir(d.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		key, err := filepath.Rel(d.root, path)
		if err != nil {
			return err
		}
		key = filepath.ToSlash(key)
		if entry.IsDir() {
			if key != "." && !strings.HasPrefix(key+"/", prefix) && !strings.HasPrefix(prefix, key+"/") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(key, prefix) && key != ".lock" {
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: list %q: %w", d, prefix, err)
	}
	sort.Strings(keys)
	if limit > 0 && len(keys) > limit {
		keys = keys[:limit]
	}
	return keys, nil
}

// Delete implements Records.
func (d *Dir) Delete(_ context.Context, key string) error {
	path, err := d.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", d, err)
	}
	return nil
}

func readRecord(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxRecord+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxRecord {
		return nil, fmt.Errorf("larger than %d bytes: this is no record", MaxRecord)
	}
	return data, nil
}
