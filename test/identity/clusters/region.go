// Package clusters boots small clusters side by side in one region of a laboratory, each with a store and a name of its
// own. They fetch their assets from one mirror, a directory, so that a cluster costs no more than its nodes.
package clusters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/region"
)

// regionName is in the partition of those whom this project is for first.
const regionName = "cn-north-1"

// Limit is for what a busy machine is waited for.
const Limit = 2 * time.Minute

// Region is a region whose mirror is filled.
type Region struct {
	*region.Region
	Programs binaries.Set

	mirror   string // dir:///path, with the objects of all clusters
	manifest []byte
	launch   sync.Mutex // cloud.Settle is not for two at once
}

// Start builds the programs, unless the agent is given, and starts a region in dir.
func Start(ctx context.Context, dir, agent string, log io.Writer) (*Region, error) {
	set, err := binaries.Build(ctx, filepath.Join(dir, "bin"), agent, binaries.Default)
	if err != nil {
		return nil, err
	}
	assets, mirror := filepath.Join(dir, "assets"), filepath.Join(dir, "mirror")
	if err := demo.Assets(ctx, assets, dir, set, []string{"master", "minion"}, ""); err != nil {
		return nil, err
	}
	r := &Region{Programs: set, mirror: "dir://" + mirror}
	r.Region, err = region.Start(ctx, region.Options{
		Dir: filepath.Join(dir, "lab"), Name: regionName, Binary: set.Rekindle, Standin: set.Standin,
	})
	if err != nil {
		return nil, err
	}
	if err = r.Publish(ctx, assets, r.mirror, log); err == nil {
		r.manifest, err = os.ReadFile(filepath.Join(mirror, "manifest.json"))
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Cluster is one cluster. It has no nodes yet.
func (r *Region) Cluster(ctx context.Context, t testing.TB, name string) *Cluster {
	t.Helper()
	c := &Cluster{Region: r, Name: name, Bucket: "identity-" + name}
	c.Store = "s3://" + c.Bucket + "/" + prefix
	err := r.CreateStore(ctx, c.Store)
	if err == nil {
		_, err = r.S3.Client().PutObject(ctx, &awss3.PutObjectInput{
			Bucket: &c.Bucket, Key: aws.String(prefix + "/manifest.json"), Body: bytes.NewReader(r.manifest),
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Await asks until there is no error, and fails the test when that takes too long.
func Await(ctx context.Context, t testing.TB, what string, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(fmt.Errorf("%s: %w: %w", what, ctx.Err(), err))
		}
	}
}
