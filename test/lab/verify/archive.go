package verify

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// compareArchive wants every file of a tar archive below each of the directories, with the same content.
func compareArchive(archive string, dirs []string) (files int, err error) {
	f, err := os.Open(archive)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := decompress(bufio.NewReader(f))
	if err != nil {
		return 0, err
	}
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return files, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		want, err := io.ReadAll(t)
		if err != nil {
			return files, err
		}
		for _, dir := range dirs {
			if err := equalTo(bytes.NewReader(want), filepath.Join(dir, h.Name)); err != nil {
				return files, err
			}
			files++
		}
	}
}

// equal wants two files to have the same content.
func equal(a, b string) error {
	f, err := os.Open(a)
	if err != nil {
		return err
	}
	defer f.Close()
	return equalTo(f, b)
}

func equalTo(want io.Reader, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	a, b := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		n, wantErr := io.ReadFull(want, a)
		m, err := io.ReadFull(f, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return fmt.Errorf("%s differs from what was published", path)
		}
		if wantErr != nil && !errors.Is(wantErr, io.EOF) && !errors.Is(wantErr, io.ErrUnexpectedEOF) {
			return wantErr
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return err
		}
	}
}

func decompress(r *bufio.Reader) (io.Reader, error) {
	magic, err := r.Peek(4)
	switch {
	case err != nil:
		return nil, err
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return gzip.NewReader(r)
	case magic[0] == 0x28 && magic[1] == 0xb5:
		return zstd.NewReader(r)
	}
	return r, nil
}
