// Package store puts the agent's store to the proof, against a real S3 server that misbehaves.
package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rekindle/agent/aws"
	"rekindle/agent/store"
	"rekindle/agent/store/storetest"
	lab "rekindle/test/s3"
)

const mib = 1 << 20

const bucket = "store"

// place is a server with one bucket, and the agent's own clients of it.
type place struct {
	*lab.Server
	t       *testing.T
	clients *aws.Clients
}

// kind says what a bucket keeps.
type kind int

const (
	plain     kind = iota
	versioned      // older versions and delete markers
	locking        // and what was written, for a day
)

func newPlace(t *testing.T, kind kind) *place {
	t.Helper()
	server, err := lab.Start(t.Context(), lab.Options{Dir: t.TempDir(), Region: "cn-north-1", Versions: kind != plain, Identify: roles})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &place{Server: server, t: t}
	p.clients = p.as(server.Root(), "")
	locked := kind == locking
	if _, err = p.s3().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: new(bucket), ObjectLockEnabledForBucket: &locked}); err != nil {
		t.Fatal(err)
	}
	switch kind {
	case versioned:
		_, err = p.s3().PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: new(bucket),
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	case locking:
		_, err = p.s3().PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{Bucket: new(bucket),
			ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: types.ObjectLockEnabledEnabled,
				Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeGovernance, Days: new(int32(1))}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// as are the clients that the agent makes, with a key of its own.
func (p *place) as(key lab.Key, token string) *aws.Clients {
	p.t.Setenv("AWS_ACCESS_KEY_ID", key.ID)
	p.t.Setenv("AWS_SECRET_ACCESS_KEY", key.Secret)
	p.t.Setenv("AWS_SESSION_TOKEN", token)
	clients, err := aws.New(p.t.Context(), aws.Options{Region: "cn-north-1", PathStyle: true, Endpoints: map[string]string{"s3": p.URL()}})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := clients.Credentials().Retrieve(p.t.Context()); err != nil { // while the environment is so
		p.t.Fatal(err)
	}
	return clients
}

func (p *place) s3() *s3.Client { return p.clients.S3("") }

func (p *place) open(prefix string, options ...store.S3Option) *store.S3 {
	return store.NewS3(p.s3(), bucket, prefix, options...)
}

// under is the same place for a test within.
func (p *place) under(t *testing.T) *place { return &place{Server: p.Server, t: t, clients: p.clients} }

// noUploads fails if there are parts of uploads in the bucket.
func (p *place) noUploads(prefix string) {
	p.t.Helper()
	if n, err := p.uploads(prefix); err != nil || n > 0 {
		p.t.Errorf("left %d uploads, %v", n, err)
	}
}

// uploads is how many are under way.
func (p *place) uploads(prefix string) (int, error) {
	ctx := context.WithoutCancel(p.t.Context())
	out, err := p.s3().ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: new(bucket), Prefix: &prefix})
	if err != nil {
		return 0, err
	}
	return len(out.Uploads), nil
}

// nothingLeft fails if there are parts of uploads in the bucket, or goroutines of the store.
func (p *place) nothingLeft() {
	p.t.Helper()
	p.noUploads("")
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, mib)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("rekindle/agent/store.")) {
			return
		}
		if time.Now().After(limit) {
			p.t.Fatalf("left goroutines:\n%s", stacks)
		}
	}
}

func (p *place) upload(blobs store.Blobs, key string, seed, size int64) store.Blob {
	p.t.Helper()
	blob, err := blobs.Upload(p.t.Context(), key, storetest.Noise(seed, size))
	if err != nil {
		p.t.Fatal(err)
	}
	return blob
}

// holds compares an object by its digest.
func (p *place) holds(blobs store.Blobs, key string, seed, size int64) {
	p.t.Helper()
	body, err := blobs.Open(p.t.Context(), key, 0, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer body.Close()
	if storetest.Digest(p.t, body) != storetest.Digest(p.t, storetest.Noise(seed, size)) {
		p.t.Errorf("%s holds something else than was written", key)
	}
}

// TestContract is for a bucket without versions. With them this server refuses a create on top of a delete marker, and even
// after all versions were removed, which S3 takes (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
func TestContract(t *testing.T) {
	p := newPlace(t, plain)
	n := 0
	next := func() *store.S3 { n++; return p.open(fmt.Sprintf("clusters/%d", n)) }
	storetest.RunBlobs(t, func(*testing.T) store.Blobs { return next() })
	storetest.Run(t, func(*testing.T) store.Records { return next() })
	p.nothingLeft()
}

// TestManyFaults uploads while every tenth request fails in some way, and reads back in ranges.
func TestManyFaults(t *testing.T) {
	p := newPlace(t, plain)
	for _, do := range []lab.Effect{lab.CutAfter(mib), lab.SlowDown, lab.ErrorAfter, lab.Lost} {
		p.Faults().Add(lab.Fault{Method: "PUT", Probability: 0.1, Do: do})
	}
	p.Faults().Add(lab.Fault{Method: "POST", Query: "uploadId", Count: 2, Do: lab.Lost})
	const size = 40 * mib
	blobs := p.open("p")
	blob := p.upload(blobs, "b", 1, size)
	if blob.Size != size || !strings.HasSuffix(string(blob.Version), `-5"`) {
		t.Errorf("%+v", blob)
	}
	p.Faults().Clear()
	p.holds(blobs, "b", 1, size)
	var all []io.Reader
	for at := int64(0); at < size; at += 15 * mib {
		part, err := blobs.Open(t.Context(), "b", at, min(15*mib, size-at))
		if err != nil {
			t.Fatal(err)
		}
		defer part.Close()
		all = append(all, part)
	}
	if storetest.Digest(t, io.MultiReader(all...)) != storetest.Digest(t, storetest.Noise(1, size)) {
		t.Error("the ranges are something else than was written")
	}
	p.nothingLeft()
}
