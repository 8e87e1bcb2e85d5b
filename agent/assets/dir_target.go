package assets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"rekindle/agent/status"
)

// Holds implements Target. Objects are synced before they get their name, so the size is enough.
func (d *Dir) Holds(ctx context.Context, o Object) (bool, error) {
	info, err := d.Stat(ctx, objectKey(o.SHA256))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && info.Size == o.Size, err
}

// Put implements Target.
func (d *Dir) Put(ctx context.Context, o Object, content io.ReaderAt) error {
	return d.write(objectKey(o.SHA256), func(f io.Writer) error {
		h := sha256.New()
		from := &ctxReader{ctx, io.NewSectionReader(content, 0, o.Size)}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, from, make([]byte, bufferSize)); err != nil {
			return err
		}
		if sum(h) != o.SHA256 {
			return fmt.Errorf("%w while it was published", ErrChanged)
		}
		return nil
	})
}

// Replace implements Target. Publishers to one directory exclude each other by a lock on it.
func (d *Dir) Replace(ctx context.Context, key string, data []byte, was string) error {
	if err := os.MkdirAll(d.path, 0o755); err != nil {
		return err
	}
	lock, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer lock.Close()
	if !tryLock(lock, syscall.LOCK_EX) {
		defer status.Waiting(ctx, "publish", "another publisher to "+d.path)()
		for n := 0; !tryLock(lock, syscall.LOCK_EX); n++ {
			if err := pause(ctx, backoff(n)); err != nil {
				return fmt.Errorf("%s is locked by another publisher: %w", d.path, err)
			}
		}
	}
	if was != anyVersion {
		now, err := d.Stat(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if now.ETag != was {
			return fmt.Errorf("%s: %w", key, ErrChanged)
		}
	}
	return d.write(key, func(f io.Writer) error {
		_, err := io.Copy(f, bytes.NewReader(data))
		return err
	})
}

// write makes the file at key whole or not at all.
func (d *Dir) write(key string, fill func(io.Writer) error) (err error) {
	path := filepath.Join(d.path, filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err = fill(f); err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// ctxReader ends a copy when ctx does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
