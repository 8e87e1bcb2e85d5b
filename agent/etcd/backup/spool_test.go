package backup

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A disk that is full all the same says so.
func TestSpoolFull(t *testing.T) {
	file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := &spool{File: file}
	stall := newWatchdog(time.Minute, func(error) {})
	err = s.fill(t.Context(), bytes.NewReader(sample(t)), stall, func() error { return nil })
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
}

// A disk that returns something else than was written spoils no backup: what etcd sent is known.
func TestSpoolChanged(t *testing.T) {
	raw := sample(t)
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stall := newWatchdog(time.Minute, func(error) {})
	if err := s.fill(t.Context(), bytes.NewReader(raw), stall, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	p := packer{spool: s, workers: 2, level: zstd.SpeedFastest}
	if chunks, err := p.pack(t.Context(), io.Discard); err != nil || len(chunks) != len(s.blake3) {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	if _, err := s.WriteAt([]byte{raw[ChunkSize+9] ^ 1}, ChunkSize+9); err != nil {
		t.Fatal(err)
	}
	if _, err := p.pack(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "other bytes than were written") {
		t.Errorf("error %v", err)
	}
}

// What a killed process left is removed; what belongs to others stays.
func TestSweep(t *testing.T) {
	s := newStore(t)
	o := options(t, replay(sample(t)), s)
	if err := os.MkdirAll(o.SpoolDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd-snapshot-123.spool", "other.db"} {
		if err := os.WriteFile(filepath.Join(o.SpoolDir, name), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := taker(t, o).Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(o.SpoolDir, "*"))
	if err != nil || !slices.Equal(left, []string{filepath.Join(o.SpoolDir, "other.db")}) {
		t.Errorf("left: %v, %v", left, err)
	}
}
