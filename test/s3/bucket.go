package s3

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Client is a client of the root account.
func (s *Server) Client() *s3.Client {
	return s.ClientFor(s.options.Root, "")
}

// ClientFor is a client that signs with a key and, for a session, its token.
func (s *Server) ClientFor(key Key, token string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider(key.ID, key.Secret, token),
		Region:       s.options.Region,
		UsePathStyle: true,
	})
}

// CreateBucket makes an empty bucket that only the root account may use.
func (s *Server) CreateBucket(ctx context.Context, bucket string) error {
	_, err := s.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
	if err != nil {
		return fmt.Errorf("s3: bucket %s: %w", bucket, err)
	}
	return nil
}

// Statement is a part of a bucket policy. Resources are keys or prefixes with a trailing *, in the bucket; the empty
// one is the bucket itself, which is what s3:ListBucket is about.
type Statement struct {
	Principals []string // ARNs of roles or sessions
	Actions    []string // s3:GetObject, ...
	Resources  []string
}

// SetPolicy replaces the policy of a bucket.
func (s *Server) SetPolicy(ctx context.Context, bucket string, statements ...Statement) error {
	type statement struct {
		Effect    string
		Principal map[string][]string
		Action    []string
		Resource  []string
	}
	policy := struct {
		Version   string
		Statement []statement
	}{Version: "2012-10-17"}
	for _, st := range statements {
		allow := statement{Effect: "Allow", Principal: map[string][]string{"AWS": st.Principals}, Action: st.Actions}
		for _, resource := range st.Resources {
			// versitygw writes resources in the partition aws, wherever it runs.
			arn := "arn:aws:s3:::" + bucket
			if resource != "" {
				arn += "/" + resource
			}
			allow.Resource = append(allow.Resource, arn)
		}
		policy.Statement = append(policy.Statement, allow)
	}
	text, err := json.Marshal(policy)
	if err != nil {
		return fmt.Errorf("s3: bucket %s: policy: %w", bucket, err)
	}
	_, err = s.Client().PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(string(text))})
	if err != nil {
		return fmt.Errorf("s3: bucket %s: policy: %w", bucket, err)
	}
	return nil
}
