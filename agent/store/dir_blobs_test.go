package store_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/store"
	"rekindle/agent/store/storetest"
)

func TestDirBlobs(t *testing.T) {
	storetest.RunBlobs(t, func(t *testing.T) store.Blobs { return store.NewDir(t.TempDir()) })
}

// TestDirUploadLeavesNothing: what a failed upload wrote is gone, what a killed process wrote goes with the next upload,
// and what another process is writing stays.
func TestDirUploadLeavesNothing(t *testing.T) {
	root := t.TempDir()
	dir := store.NewDir(root)
	growing := filepath.Join(root, ".uploads")
	broken := io.MultiReader(strings.NewReader("x"), readers(func([]byte) (int, error) {
		if left, err := os.ReadDir(growing); err != nil || len(left) != 1 {
			t.Errorf("while it grows: %v, %v", left, err)
		}
		return 0, errServer
	}))
	if _, err := dir.Upload(t.Context(), "a/b", broken); !errors.Is(err, errServer) {
		t.Error(err)
	}
	forgotten, living := filepath.Join(growing, "forgotten"), filepath.Join(growing, "living")
	for _, path := range []string{forgotten, living} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.Open(living)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Upload(t.Context(), "a/b", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(growing); err != nil || len(left) != 1 || left[0].Name() != "living" {
		t.Errorf("left %v, %v", left, err)
	}
	if blobs, err := dir.Blobs(t.Context(), ""); err != nil || len(blobs) != 1 || blobs[0].Key != "a/b" {
		t.Errorf("%v, %v", blobs, err)
	}
}

type readers func([]byte) (int, error)

func (f readers) Read(p []byte) (int, error) { return f(p) }

func TestDirUploadStandsStill(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r, w := io.Pipe()
		go func() { _, _ = w.Write([]byte("some")) }()
		_, err := store.NewDir(root).Upload(t.Context(), "b", r)
		if err == nil || !strings.Contains(err.Error(), "nothing moved for 1m0s") || time.Since(began) != time.Minute {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		_ = w.Close()
	})
	if blobs, err := store.NewDir(root).Blobs(t.Context(), ""); err != nil || len(blobs) > 0 {
		t.Errorf("%v, %v", blobs, err)
	}
}

func TestDirBlobsAreUnknownWhenUnmounted(t *testing.T) {
	dir := store.NewDir(t.TempDir() + "/unmounted")
	_, uploading := dir.Upload(t.Context(), "b", strings.NewReader("x"))
	_, opening := dir.Open(t.Context(), "b", 0, 0)
	_, listing := dir.Blobs(t.Context(), "")
	_, tracing := dir.Trace(t.Context(), "")
	for what, err := range map[string]error{
		"upload": uploading, "open": opening, "blobs": listing, "trace": tracing, "remove": dir.Remove(t.Context(), "b"),
	} {
		if err == nil || errors.Is(err, store.ErrAbsent) {
			t.Errorf("%s: %v: a store that is not there was taken for an empty one", what, err)
		}
	}
}

// TestDirFileThatShrinks: a file that is cut while it is read must not look like a short one.
func TestDirFileThatShrinks(t *testing.T) {
	root := t.TempDir()
	dir := store.NewDir(root)
	if _, err := dir.Upload(t.Context(), "b", strings.NewReader("0123456789")); err != nil {
		t.Fatal(err)
	}
	body, err := dir.Open(t.Context(), "b", 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := os.Truncate(filepath.Join(root, "b"), 5); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) || string(data) != "234" {
		t.Errorf("%q, %v", data, err)
	}
}
