package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 is a store in a bucket, below a prefix.
type S3 struct {
	client *s3.Client
	bucket string
	prefix string // without slashes at its ends
}

// NewS3 is the store at s3://bucket/prefix. The client's credentials need s3:GetObject, and s3:ListBucket, without
// which S3 answers 403 instead of 404 for an object that is missing.
func NewS3(client *s3.Client, bucket, prefix string) *S3 {
	return &S3{client, bucket, strings.Trim(prefix, "/")}
}

func (s *S3) String() string {
	if s.prefix == "" {
		return "s3://" + s.bucket
	}
	return "s3://" + s.bucket + "/" + s.prefix
}

// Get implements Source.
func (s *S3) Get(ctx context.Context, key string, r Range) (io.ReadCloser, error) {
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(key)}
	if r.Length > 0 {
		in.Range = aws.String(r.header())
	}
	if r.ETag != "" {
		in.IfMatch = &r.ETag
	}
	out, err := s.client.GetObject(ctx, in, oneAttempt)
	if err != nil {
		return nil, s3Error(err)
	}
	if r.Length > 0 {
		if err := r.checkAnswer(aws.ToString(out.ContentRange)); err != nil {
			return nil, errors.Join(err, out.Body.Close())
		}
	}
	return out.Body, nil
}

// Stat implements Source.
func (s *S3) Stat(ctx context.Context, key string) (Info, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.key(key)}, oneAttempt)
	if err != nil {
		return Info{}, s3Error(err)
	}
	return Info{Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag)}, nil
}

// List implements Source.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		below := s.prefix
		if below != "" {
			below += "/"
		}
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(below + prefix)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx, oneAttempt)
			if err != nil {
				yield(Info{}, s3Error(err))
				return
			}
			for _, o := range page.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), below)
				if strings.HasSuffix(key, "/") {
					continue // what consoles create to show a folder
				}
				if !yield(Info{Key: key, Size: aws.ToInt64(o.Size), ETag: aws.ToString(o.ETag)}, nil) {
					return
				}
			}
		}
	}
}

func (s *S3) key(key string) *string {
	return aws.String(path.Join(s.prefix, key))
}

// oneAttempt switches the SDK's own retries and response checksums off: both are done above, per chunk, where another source
// can be tried, and retries that nest multiply.
func oneAttempt(o *s3.Options) {
	o.Retryer = aws.NopRetryer{}
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}

// retryable is what the SDK's errors implement that it would try again; of those with status 403 these are signatures by a
// clock that is more than 4 minutes off. The client knows by how much from then on, and signs the next request by S3's clock.
type retryable interface {
	error
	RetryableError() bool
}

func s3Error(err error) error {
	if skewed, ok := errors.AsType[retryable](err); ok && skewed.RetryableError() {
		return err
	}
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		if sentinel := statusSentinel(answer.HTTPStatusCode()); sentinel != nil {
			return fmt.Errorf("%w: %w", sentinel, err)
		}
	}
	return err
}

// statusSentinel is what an HTTP status means to a caller, or nil when it may be temporary.
func statusSentinel(code int) error {
	switch code {
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	case http.StatusForbidden, http.StatusUnauthorized:
		return ErrDenied
	case http.StatusPreconditionFailed, http.StatusConflict:
		return ErrChanged
	}
	return nil
}
