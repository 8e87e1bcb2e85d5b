package assets

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// reserved are the names at the top of a store that are not the publisher's: the store's own, and what the agents
// write. A directory that has them is a store itself, or would hand out what only masters may read.
var reserved = []string{manifestKey, signatureKey, "objects", "pki", "etcd", "discovery", "nodes"}

// scan makes the manifest of a directory. Links are followed as long as they stay inside it.
func scan(ctx context.Context, root *os.Root, begin func(total int64) (advance func(bytes int64))) (*Manifest, error) {
	m := &Manifest{Version: manifestVersion}
	err := fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || path == "." {
			return err
		}
		if slices.Contains(reserved, path) {
			return fmt.Errorf("%s: this name belongs to the store itself; rename it, or publish another directory", path)
		}
		if entry.IsDir() {
			return nil
		}
		info, err := root.Stat(filepath.FromSlash(path))
		switch {
		case err != nil && entry.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s: this link leads out of the directory or nowhere; copy the file instead: %w", path, err)
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s: is neither a file nor a link to one; remove it", path)
		}
		m.Objects = append(m.Objects, Object{Path: path, Size: info.Size(), Chunks: make([]Chunk, chunkCount(info.Size()))})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(m.Objects, byPath)
	if err := hashAll(ctx, root, m.Objects, begin(m.Total())); err != nil {
		return nil, err
	}
	return m, m.check()
}

// Total is the size of all objects, in bytes.
func (m *Manifest) Total() (total int64) {
	for _, o := range m.Objects {
		total += o.Size
	}
	return total
}

// hashAll fills in the digests, on all cores: an object's own digest has to be computed from its begin to its end, those
// of its chunks beside it.
func hashAll(ctx context.Context, root *os.Root, objects []Object, report func(int64)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	run := func(path string, work func(f *os.File) error) {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := root.Open(filepath.FromSlash(path))
			if err != nil {
				return err
			}
			return errors.Join(work(f), f.Close())
		})
	}
	for i := range objects {
		o := &objects[i]
		run(o.Path, func(f *os.File) error { return hashObject(ctx, f, o) })
		for c := 0; c < len(o.Chunks); c += runChunks {
			run(o.Path, func(f *os.File) error { return hashChunks(ctx, f, o, c, min(c+runChunks, len(o.Chunks)), report) })
		}
	}
	return group.Wait()
}

func hashObject(ctx context.Context, f *os.File, o *Object) error {
	before, err := f.Stat()
	if err != nil {
		return err
	}
	h := sha256.New()
	if err := hashRange(ctx, f, 0, o.Size, h); err != nil {
		return fmt.Errorf("%s: %w", o.Path, err)
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if after.Size() != o.Size || !after.ModTime().Equal(before.ModTime()) {
		return fmt.Errorf("%s: %w while it was read; publish when nothing writes to it", o.Path, ErrChanged)
	}
	o.SHA256 = sum(h)
	return nil
}

func hashChunks(ctx context.Context, f *os.File, o *Object, from, to int, report func(int64)) error {
	one, two := bySHA256.new(), byBLAKE3.new()
	for i := from; i < to; i++ {
		one.Reset()
		two.Reset()
		offset, length := chunkSpan(o.Size, i)
		if err := hashRange(ctx, f, offset, length, one, two); err != nil {
			return fmt.Errorf("%s: %w", o.Path, err)
		}
		o.Chunks[i] = Chunk{SHA256: sum(one), BLAKE3: sum(two)}
		report(length)
	}
	return nil
}

func hashRange(ctx context.Context, f *os.File, offset, length int64, hashes ...hash.Hash) error {
	writers := make([]io.Writer, len(hashes))
	for i, h := range hashes {
		writers[i] = h
	}
	from := &ctxReader{ctx, io.NewSectionReader(f, offset, length)}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(writers...)}, from, make([]byte, bufferSize))
	if err == nil && n != length {
		err = io.ErrUnexpectedEOF
	}
	return err
}
