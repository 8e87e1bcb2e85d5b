package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// S3 keeps records and blobs in a bucket, by conditional writes: If-None-Match: * creates, If-Match: <etag> replaces
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html; China regions included).
type S3 struct {
	client *s3.Client
	bucket string
	prefix string // without a slash at its end; may be empty
	keys   []encryption
	stall  time.Duration // after which a transfer that stands still is given up
}

// S3Option changes how records are kept in S3.
type S3Option func(*S3)

// encryption is the KMS key for what lies below a prefix.
type encryption struct{ under, keyID string }

// EncryptUnder has S3 encrypt what is put below prefix (relative, as keys are) with a KMS key: its id, ARN or alias; the
// empty one is the account's own key for S3. Whoever reads needs kms:Decrypt on it, whoever writes kms:GenerateDataKey.
func EncryptUnder(prefix, keyID string) S3Option {
	return func(s *S3) { s.keys = append(s.keys, encryption{strings.Trim(prefix, "/") + "/", keyID}) }
}

// GiveUpAfter is how long the transfer of a blob may stand still; default a minute. It should be longer than what the
// client waits for one answer.
func GiveUpAfter(stall time.Duration) S3Option {
	return func(s *S3) { s.stall = stall }
}

// NewS3 is the records and blobs under s3://bucket/prefix.
func NewS3(client *s3.Client, bucket, prefix string, options ...S3Option) *S3 {
	s := &S3{client: client, bucket: bucket, prefix: strings.Trim(prefix, "/"), stall: stallLimit}
	for _, option := range options {
		option(s)
	}
	return s
}

func (s *S3) String() string { return "s3://" + path.Join(s.bucket, s.prefix) }

// root is what stands before every key.
func (s *S3) root() string {
	if s.prefix == "" {
		return ""
	}
	return s.prefix + "/"
}

func (s *S3) key(key string) *string { return aws.String(path.Join(s.prefix, key)) }

// Get implements Records. Without s3:ListBucket S3 answers 403 for a key that does not exist: that is unknown, too.
func (s *S3) Get(ctx context.Context, key string) ([]byte, Version, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(key)})
	if missing := new(types.NoSuchKey); errors.As(err, &missing) {
		return nil, "", fmt.Errorf("%s/%s: %w", s, key, ErrAbsent)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s/%s: %w", s, key, err)
	}
	defer out.Body.Close()
	data, err := readRecord(out.Body)
	if err != nil {
		return nil, "", fmt.Errorf("%s/%s: %w", s, key, err)
	}
	return data, Version(aws.ToString(out.ETag)), nil
}

// Put implements Records. 412 and 409 are ErrConflict, as is 404 to If-Match: the record was deleted meanwhile.
func (s *S3) Put(ctx context.Context, key string, data []byte, was Version) (Version, error) {
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: s.key(key), Body: bytes.NewReader(data),
		ContentType: aws.String("application/json"),
	}
	if was == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = aws.String(string(was))
	}
	in.ServerSideEncryption, in.SSEKMSKeyId, in.BucketKeyEnabled = s.encryption(key)
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		if conflict(err, was != "") {
			return "", fmt.Errorf("%s/%s: %w", s, key, ErrConflict)
		}
		return "", fmt.Errorf("%s/%s: %w", s, key, err)
	}
	return Version(aws.ToString(out.ETag)), nil
}

// encryption is how an object is to be encrypted: the last prefix that holds it counts.
func (s *S3) encryption(key string) (mode types.ServerSideEncryption, keyID *string, bucketKey *bool) {
	for _, e := range s.keys {
		if !strings.HasPrefix(key, e.under) {
			continue
		}
		mode, keyID = types.ServerSideEncryptionAwsKms, nil
		bucketKey = aws.Bool(true) // S3 then asks KMS once for many objects
		if e.keyID != "" {
			keyID = aws.String(e.keyID)
		}
	}
	return mode, keyID, bucketKey
}

func conflict(err error, replacing bool) bool {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		switch response.HTTPStatusCode() {
		case http.StatusPreconditionFailed, http.StatusConflict:
			return true
		case http.StatusNotFound:
			// A missing bucket is 404 as well, and that is no conflict.
			var api smithy.APIError
			return replacing && errors.As(err, &api) && api.ErrorCode() == "NoSuchKey"
		}
	}
	return false
}

// List implements Records.
func (s *S3) List(ctx context.Context, prefix string, limit int) ([]string, error) {
	root := s.root()
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(root + prefix)}
	if limit > 0 && limit < 1000 {
		in.MaxKeys = aws.Int32(int32(limit))
	}
	var keys []string
	for pages := s3.NewListObjectsV2Paginator(s.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: list %q: %w", s, prefix, err)
		}
		for _, object := range page.Contents {
			keys = append(keys, strings.TrimPrefix(aws.ToString(object.Key), root))
		}
		if limit > 0 && len(keys) >= limit {
			return keys[:limit], nil
		}
	}
	return keys, nil
}

// Delete implements Records.
func (s *S3) Delete(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.key(key)})
	if err != nil {
		return fmt.Errorf("%s/%s: %w", s, key, err)
	}
	return nil
}
