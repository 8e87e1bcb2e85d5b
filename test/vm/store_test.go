//go:build vm

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	agentstore "rekindle/agent/store"
	local "rekindle/test/s3"
)

// newStore makes a store, which is a bucket, with what the image was made of. Without objects there is no asset to fetch.
func (v *vpc) newStore(t *testing.T, bucket string, objects bool) {
	t.Helper()
	if err := v.s3.CreateBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws-cn:iam::123456789012:role/"
	master, both := []string{arn + "rekindle-master"}, []string{arn + "rekindle-master", arn + "rekindle-node"}
	err := v.s3.SetPolicy(t.Context(), bucket,
		local.Statement{Principals: both, Actions: []string{"s3:ListBucket"}, Resources: []string{""}},
		local.Statement{Principals: master, Actions: []string{"s3:ListBucketVersions"}, Resources: []string{""}},
		local.Statement{Principals: both, Actions: []string{"s3:GetObject"}, Resources: []string{
			"cluster.yaml", "manifest.json", "manifest.minisig", "objects/*", "roles/*", "pki/public/*", "discovery/*"}},
		local.Statement{Principals: both, Actions: []string{"s3:GetObject", "s3:PutObject"}, Resources: []string{"nodes/*"}},
		local.Statement{Principals: master, Actions: []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}, Resources: []string{"*"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	published := os.DirFS(filepath.Join(*cacheDir, "store"))
	err = fs.WalkDir(published, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !objects && strings.HasPrefix(path, "objects/") {
			return err
		}
		data, err := fs.ReadFile(published, path)
		if err != nil {
			return err
		}
		return v.put(t.Context(), bucket, path, data)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (v *vpc) put(ctx context.Context, bucket, key string, data []byte) error {
	_, err := v.s3.Client().PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)})
	return err
}

// get reads an object; one that is not there is empty.
func (v *vpc) get(ctx context.Context, bucket, key string) ([]byte, error) {
	out, err := v.s3.Client().GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		if strings.Contains(err.Error(), "NoSuchKey") {
			return nil, nil
		}
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// keys lists a bucket below a prefix.
func (v *vpc) keys(ctx context.Context, bucket, prefix string) (keys []string, err error) {
	pages := s3.NewListObjectsV2Paginator(v.s3.Client(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", bucket, prefix, err)
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	return keys, nil
}

// blobs is a store as the agent's packages see it.
func (v *vpc) blobs(bucket string) *agentstore.S3 { return agentstore.NewS3(v.s3.Client(), bucket, "") }

// decode reads a JSON object of a store.
func decode[T any](ctx context.Context, v *vpc, bucket, key string) (*T, error) {
	data, err := v.get(ctx, bucket, key)
	if err != nil || data == nil {
		return nil, err
	}
	out := new(T)
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return out, nil
}

// copyStore copies the records of a cluster to another store: all but what newStore has put there.
func (v *vpc) copyStore(ctx context.Context, from, to string) error {
	for _, prefix := range []string{"pki/", "etcd/", "discovery/", "nodes/"} {
		keys, err := v.keys(ctx, from, prefix)
		if err != nil {
			return err
		}
		for _, key := range keys {
			data, err := v.get(ctx, from, key)
			if err == nil {
				err = v.put(ctx, to, key, data)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
