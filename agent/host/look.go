package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
)

// Entry is what stands at a path.
type Entry = apply.Entry

// Look says what stands at p.
func (h *Host) Look(p string) (Entry, error) {
	real, err := h.place(p)
	if err != nil {
		return Entry{}, err
	}
	info, err := os.Lstat(real)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, explain(p, err)
	}
	link := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if link, err = os.Readlink(real); err != nil {
			return Entry{}, explain(p, err)
		}
		if real, err = h.Path(p); err != nil {
			return Entry{}, err
		}
		target, err := os.Lstat(real)
		if err != nil || !target.IsDir() {
			return Entry{Kind: apply.KindLink, Link: link}, nil
		}
		info = target
	}
	entry := entryOf(info)
	entry.Link = link
	if entry.Kind == apply.KindDir {
		entry.Empty, err = empty(real)
	}
	return entry, explain(p, err)
}

func entryOf(info fs.FileInfo) Entry {
	stat := info.Sys().(*syscall.Stat_t)
	entry := Entry{Mode: plan.Mode(stat.Mode & 0o7777)}
	switch {
	case info.IsDir():
		entry.Kind = apply.KindDir
	case info.Mode().IsRegular():
		entry.Kind = apply.KindFile
		entry.Stamp = apply.Stamp{Size: stat.Size, MTime: stat.Mtim.Nano(), CTime: stat.Ctim.Nano(), Inode: stat.Ino}
	default:
		entry.Kind = apply.KindOther
	}
	return entry
}

func empty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if _, err = f.Readdirnames(1); errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// Read reads a file.
func (h *Host) Read(p string) ([]byte, error) {
	real, err := h.Path(p)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(real)
	return data, explain(p, err)
}

// List is the names in a directory, sorted; none when there is no such directory.
func (h *Host) List(p string) ([]string, error) {
	real, err := h.Path(p)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(real)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, explain(p, err)
}

// Sum is the sha256 of a file, in hexadecimal.
func (h *Host) Sum(ctx context.Context, p string) (string, error) {
	real, err := h.Path(p)
	if err != nil {
		return "", err
	}
	f, err := os.Open(real)
	if err != nil {
		return "", explain(p, err)
	}
	defer f.Close()
	hash := sha256.New()
	if err := copyUnder(ctx, hash, f); err != nil {
		return "", explain(p, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// copyBlock is how much is copied between two looks at the context.
const copyBlock = 64 << 20

// copyUnder copies until the end of src or of ctx. From file to file the kernel copies, or shares the blocks where the
// file system can.
func copyUnder(ctx context.Context, dst io.Writer, src io.Reader) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if _, err := io.CopyN(dst, src, copyBlock); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
