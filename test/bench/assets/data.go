package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/agent/assets"
)

const (
	total = 1 << 30
	large = 600 << 20
	small = 40
)

// makeData writes 40 objects and one of 600 MiB, 1 GiB together, that do not compress.
func makeData(dir string) error {
	if err := writeNoise(filepath.Join(dir, "images", "large.tar"), 0, large); err != nil {
		return err
	}
	left := int64(total - large)
	for i := range small {
		size := left / int64(small-i)
		left -= size
		if err := writeNoise(filepath.Join(dir, "bin", fmt.Sprintf("object-%02d", i)), byte(i+1), size); err != nil {
			return err
		}
	}
	return nil
}

func writeNoise(path string, seed byte, size int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = io.CopyN(w, rand.NewChaCha8([32]byte{seed}), size)
	return errors.Join(err, w.Flush(), f.Close())
}

func publish(ctx context.Context, url, dir string) (assets.Result, error) {
	if _, err := client(url).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		return assets.Result{}, err
	}
	return assets.Publish(ctx, assets.PublishOptions{Dir: dir, Target: target(url)})
}

func target(url string) *assets.S3 { return assets.NewS3(client(url), bucket, prefix) }

// check reads what was fetched once more, with the other digest: an object's name is its SHA-256.
func check(dir string, objects int) error {
	entries, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	found := 0
	for _, path := range entries {
		name := filepath.Base(path)
		if len(name) != sha256.Size*2 {
			continue // a stamp
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != name {
			return fmt.Errorf("%s has the digest %s", path, got)
		}
		found++
	}
	if found != objects {
		return fmt.Errorf("%s: %d objects, want %d", dir, found, objects)
	}
	return nil
}
