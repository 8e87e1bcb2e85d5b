package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/restore/restoretest"
	"rekindle/agent/store"
)

const (
	perKey    = 2048 // bytes of the database: two keys to a page
	valueSize = 1700 // bytes; the rest is their names and what bbolt leaves free
	plain     = "snapshot.db"
)

func blobs(url string) *store.S3 { return store.NewS3(client(url), bucket, prefix) }

// prepare fills the server with a database, as a backup of ours and as the file that `etcdctl snapshot save` writes,
// unless it is there from an earlier time.
func prepare(ctx context.Context, s setup, url string) (backup.Entry, error) {
	ready := filepath.Join(s.cache, fmt.Sprintf("ready-%d-%d", s.keys, s.size))
	if _, err := os.Stat(ready); errors.Is(err, fs.ErrNotExist) {
		if err := fill(ctx, s, url); err != nil {
			return backup.Entry{}, err
		}
		if err := os.WriteFile(ready, nil, 0o644); err != nil {
			return backup.Entry{}, err
		}
	}
	all, err := backup.List(ctx, blobs(url), "main")
	if err != nil {
		return backup.Entry{}, err
	}
	if len(all) != 1 {
		return backup.Entry{}, fmt.Errorf("%s: %d backups: remove it", s.cache, len(all))
	}
	return all[0], nil
}

func fill(ctx context.Context, s setup, url string) error {
	to := blobs(url)
	if _, err := client(url).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &[]string{bucket}[0]}); err != nil {
		return fmt.Errorf("%w; if an earlier run was cut, remove %s", err, s.cache)
	}
	db := filepath.Join(s.work, plain)
	if err := restoretest.Database(db, s.keys, s.size); err != nil {
		return err
	}
	if _, err := restoretest.Store(ctx, to, db); err != nil {
		return err
	}
	if err := appendSum(db); err != nil {
		return err
	}
	file, err := os.Open(db)
	if err != nil {
		return err
	}
	_, err = to.Upload(ctx, plain, file)
	return errors.Join(err, file.Close(), os.Remove(db))
}

// appendSum makes a snapshot of a database, as etcd sends it.
func appendSum(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return errors.Join(err, file.Close())
	}
	_, err = file.Write(h.Sum(nil))
	return errors.Join(err, file.Close())
}
