package verify

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// compareArchive wants every file of a tar archive below dir, with the same content.
func compareArchive(archive, dir string) (files int, err error) {
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
		want := sha256.New()
		if _, err := io.Copy(want, t); err != nil {
			return files, err
		}
		got, err := sum(filepath.Join(dir, h.Name))
		if err != nil {
			return files, err
		}
		if got != hex.EncodeToString(want.Sum(nil)) {
			return files, fmt.Errorf("%s differs from the archive", h.Name)
		}
		files++
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
