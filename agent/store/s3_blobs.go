package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// blob checks a key: one with dots or double slashes would name an object outside of the prefix, or another one.
func (s *S3) blob(key string) error {
	if !fs.ValidPath(key) || key == "." {
		return fmt.Errorf("%s: key %q: not a clean relative path", s, key)
	}
	return nil
}

// Open implements Blobs. It needs s3:GetObject.
func (s *S3) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(s.blob(key), span(offset, length)); err != nil {
		return nil, err
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(key)}
	switch {
	case length > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	ctx, watch := watched(ctx, s.stall)
	body, err := s.open(ctx, in, offset, length)
	watch.rest()
	if err != nil {
		err = fmt.Errorf("%s/%s: %w", s, key, because(ctx, err))
		watch.stop()
		return nil, err
	}
	body.watch, body.where = watch, fmt.Sprintf("%s/%s", s, key)
	return body, nil
}

func (s *S3) open(ctx context.Context, in *s3.GetObjectInput, offset, length int64) (*exact, error) {
	out, err := s.client.GetObject(ctx, in)
	if missing := new(types.NoSuchKey); errors.As(err, &missing) {
		return nil, ErrAbsent
	}
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return nil, fmt.Errorf("%w: it ends before byte %d: %w", io.ErrUnexpectedEOF, offset, err)
	}
	if err != nil {
		return nil, err
	}
	size := aws.ToInt64(out.ContentLength)
	if in.Range != nil {
		size, err = ranged(aws.ToString(out.ContentRange), offset, length)
	} else if out.ContentLength == nil {
		err = errors.New("the store does not say how long it is")
	}
	if err != nil {
		return nil, errors.Join(err, out.Body.Close())
	}
	return &exact{ReadCloser: out.Body, ctx: ctx, left: size}, nil
}

func span(offset, length int64) error {
	if offset < 0 || length < 0 || offset+length < 0 {
		return fmt.Errorf("%d bytes from %d: not a range", length, offset)
	}
	return nil
}

// ranged reads "bytes 0-9/10", and says how many bytes that is.
func ranged(answer string, offset, length int64) (int64, error) {
	var first, last, total int64
	if _, err := fmt.Sscanf(answer, "bytes %d-%d/%d", &first, &last, &total); err != nil {
		return 0, fmt.Errorf("the store did not answer with the range that was asked for, but with %q", answer)
	}
	size := last - first + 1
	switch {
	case first != offset || size < 1 || last >= total || length > 0 && size > length:
		return 0, fmt.Errorf("the store answered with another range than was asked for: %q", answer)
	case length > 0 && size < length:
		return 0, fmt.Errorf("%w: of %d bytes from %d there are %d", io.ErrUnexpectedEOF, length, offset, size)
	case length == 0 && last != total-1:
		return 0, fmt.Errorf("the store answered with a part of what was asked for: %q", answer)
	}
	return size, nil
}

// Blobs implements Blobs. It needs s3:ListBucket.
func (s *S3) Blobs(ctx context.Context, prefix string) ([]Blob, error) {
	root := s.root()
	var blobs []Blob
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(root + prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: list %q: %w", s, prefix, err)
		}
		for _, object := range page.Contents {
			blobs = append(blobs, Blob{
				Key:      strings.TrimPrefix(aws.ToString(object.Key), root),
				Size:     aws.ToInt64(object.Size),
				Modified: aws.ToTime(object.LastModified),
				Version:  Version(aws.ToString(object.ETag)),
			})
		}
	}
	slices.SortFunc(blobs, func(a, b Blob) int { return strings.Compare(a.Key, b.Key) })
	return blobs, nil
}

// Trace implements Blobs. It needs s3:ListBucketVersions and s3:ListBucket.
//
// Both listings must be empty: a store without versions may answer the first one with "not implemented", or with nothing.
func (s *S3) Trace(ctx context.Context, prefix string) (bool, error) {
	full := aws.String(s.root() + prefix)
	found, err := s.versionsExist(ctx, full)
	if found || err != nil && !unversioned(err) {
		return found, s.versionsError(prefix, err)
	}
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: full, MaxKeys: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return false, fmt.Errorf("%s: list %q: %w", s, prefix, err)
		}
		if len(page.Contents) > 0 {
			return true, nil
		}
	}
	return false, nil
}

func (s *S3) versionsExist(ctx context.Context, prefix *string) (bool, error) {
	pages := s3.NewListObjectVersionsPaginator(s.client, &s3.ListObjectVersionsInput{
		Bucket: &s.bucket, Prefix: prefix, MaxKeys: aws.Int32(1),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return false, err
		}
		if len(page.Versions)+len(page.DeleteMarkers) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// versionsError explains an error of ListObjectVersions, whose IAM action has another name.
func (s *S3) versionsError(prefix string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: list the versions of %q: %w", s, prefix, err)
	if status(err) == http.StatusForbidden {
		return fmt.Errorf("%w; allow s3:ListBucketVersions on the bucket to the instance's role", err)
	}
	return err
}

// unversioned tells that a store has no versions of objects.
func unversioned(err error) bool {
	return status(err) == http.StatusNotImplemented || code(err) == "NotImplemented"
}

// code is what the store called the error; empty if it did not answer.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// status is the answer's status; 0 if there was none.
func status(err error) int {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.Response != nil {
		return response.HTTPStatusCode()
	}
	return 0
}
