package region

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	agentstore "rekindle/agent/store"
	"rekindle/test/s3"
)

// The roles of instance profiles; NodeProfile is the default of Options. Masters write the store, other nodes read what is
// not secret and report their boots.
const (
	MasterProfile = "rekindle-master"
	NodeProfile   = "rekindle-node"
)

// CreateStore makes the bucket of a store, s3://bucket/prefix, and lets the two profiles use it as a cluster needs.
func (r *Region) CreateStore(ctx context.Context, store string) error {
	bucket, prefix, err := splitStore(store)
	if err != nil {
		return err
	}
	if err := r.S3.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	arn := func(role string) string {
		return fmt.Sprintf("arn:%s:iam::%s:role/%s", r.Cloud.Partition(), r.Cloud.AccountID(), role)
	}
	master, both := []string{arn(MasterProfile)}, []string{arn(MasterProfile), arn(r.options.NodeProfile)}
	var public []string
	for _, path := range []string{"cluster.yaml", "manifest.json", "manifest.minisig", "objects/*", "roles/*", "pki/public/*", "discovery/*"} {
		public = append(public, prefix+path)
	}
	return r.S3.SetPolicy(ctx, bucket,
		s3.Statement{Principals: both, Actions: []string{"s3:ListBucket"}, Resources: []string{""}},
		s3.Statement{Principals: master, Actions: []string{"s3:ListBucketVersions"}, Resources: []string{""}},
		s3.Statement{Principals: both, Actions: []string{"s3:GetObject"}, Resources: public},
		s3.Statement{Principals: both, Actions: []string{"s3:GetObject", "s3:PutObject"}, Resources: []string{prefix + "nodes/*"}},
		s3.Statement{Principals: master, Actions: []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}, Resources: []string{prefix + "*"}},
	)
}

// splitStore takes s3://bucket/a/b apart into the bucket and "a/b/".
func splitStore(store string) (bucket, prefix string, err error) {
	u, err := url.Parse(store)
	if err != nil || u.Scheme != "s3" || u.Host == "" {
		return "", "", fmt.Errorf("store %q: the lab serves s3://bucket/prefix", store)
	}
	if prefix = strings.Trim(u.Path, "/"); prefix != "" {
		prefix += "/"
	}
	return u.Host, prefix, nil
}

// Publish runs `rekindle publish` as an operator with administrator's keys would. What it prints goes to out.
func (r *Region) Publish(ctx context.Context, dir, store string, out io.Writer, flags ...string) error {
	admin := r.Cloud.AdminCredentials()
	args := append([]string{"publish", dir, store, "--region", r.options.Name, "--endpoint", r.S3.URL(), "--path-style"}, flags...)
	cmd := exec.CommandContext(ctx, r.options.Binary, args...)
	cmd.Env = []string{
		"AWS_ACCESS_KEY_ID=" + admin.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + admin.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true",
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("rekindle publish %s %s: %w", dir, store, err)
	}
	return nil
}

// ReadStore reads an object of a store as its administrator.
func (r *Region) ReadStore(ctx context.Context, store, path string) ([]byte, error) {
	bucket, prefix, err := splitStore(store)
	if err != nil {
		return nil, err
	}
	key := prefix + path
	out, err := r.S3.Client().GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", strings.TrimSuffix(store, "/"), path, err)
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// Store is a cluster's store, as the agent's own packages see it.
func (r *Region) Store(place string) (*agentstore.S3, error) {
	bucket, prefix, err := splitStore(place)
	if err != nil {
		return nil, err
	}
	return agentstore.NewS3(r.S3.Client(), bucket, prefix), nil
}

// DenyStore makes S3 answer an instance with 403, whatever it asks for, or ends that. It holds for the keys that the
// instance has and for those that it gets.
func (r *Region) DenyStore(instance string, denied bool) { r.keys.deny(instance, denied) }

// ReadStoreAs reads an object of a store with the credentials of an instance.
func (r *Region) ReadStoreAs(ctx context.Context, instance, store, path string) ([]byte, error) {
	bucket, prefix, err := splitStore(store)
	if err != nil {
		return nil, err
	}
	own := r.Cloud.Credentials(instance)
	client := awss3.New(awss3.Options{
		Region: r.options.Name, BaseEndpoint: aws.String(r.S3.URL()), UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(own.AccessKeyID, own.SecretAccessKey, own.SessionToken),
	})
	key := prefix + path
	out, err := client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", strings.TrimSuffix(store, "/"), path, err)
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// EmptyStore deletes what lies below a path of a store, such as the records of an etcd cluster that a test is done with.
func (r *Region) EmptyStore(ctx context.Context, store, path string) error {
	bucket, prefix, err := splitStore(store)
	if err != nil {
		return err
	}
	prefix += path
	client := r.S3.Client()
	pages := awss3.NewListObjectsV2Paginator(client, &awss3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", strings.TrimSuffix(store, "/"), path, err)
		}
		for _, o := range page.Contents {
			if _, err := client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: o.Key}); err != nil {
				return fmt.Errorf("%s/%s: %w", strings.TrimSuffix(store, "/"), path, err)
			}
		}
	}
	return nil
}
