package assets

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

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

// Unpack extracts a tar, plain or compressed with gzip or zstd, into dir, which exists and is empty. What is there after
// an error is the caller's to remove, and so is it to put the tree in its place and to make it durable.
//
// Paths and links that lead out of dir, absolute links, devices, and more than limits allow are refused with
// status.ReasonAssetCorrupt. Owners and set-id bits are not taken over.
func Unpack(ctx context.Context, archive, dir string, limits Limits) error {
	err := unpack(ctx, archive, dir, limits.withDefaults())
	if errors.Is(err, errRefused) {
		err = status.Fail(status.ReasonAssetCorrupt, "repack the archive without it, and publish again", err)
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", archive, err)
	}
	return nil
}

func unpack(ctx context.Context, archive, dir string, limits Limits) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	plain, err := decompress(&ctxReader{ctx, f})
	if err != nil {
		return err
	}
	defer plain.Close()
	return untar(plain, root, limits)
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
