package assets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/sync/errgroup"
)

// wholeLimit is the largest object, in bytes, that is put in one request.
const wholeLimit = 2 * ChunkSize

// partsAtOnce bounds the parts of one object that are uploaded at a time.
const partsAtOnce = 4

// Holds implements Target. An S3 part is a chunk, so the checksum that S3 keeps of an object, or of its parts, follows
// from the manifest.
func (s *S3) Holds(ctx context.Context, o Object) (bool, error) {
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &s.bucket, Key: s.key(objectKey(o.SHA256)), ChecksumMode: types.ChecksumModeEnabled,
	})
	if err := s3Error(err); errors.Is(err, ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if aws.ToInt64(head.ContentLength) != o.Size {
		return false, nil
	}
	switch kept := aws.ToString(head.ChecksumSHA256); {
	case kept == "": // copied by a tool that chose another algorithm, or none
		return true, nil
	case !strings.Contains(kept, "-"):
		return kept == base64Of(o.SHA256), nil
	case strings.HasSuffix(kept, fmt.Sprintf("-%d", len(o.Chunks))):
		return kept == compositeOf(o), nil
	}
	return true, nil // in parts of another size
}

// Put implements Target.
func (s *S3) Put(ctx context.Context, o Object, content io.ReaderAt) error {
	// If-None-Match keeps a second publisher, or a retry after a lost answer, from sending it all to no effect; what is
	// there with another size or checksum was not written by Publish and is replaced.
	var condition *string
	if _, err := s.Stat(ctx, objectKey(o.SHA256)); errors.Is(err, ErrNotFound) {
		condition = aws.String("*")
	}
	put := s.putWhole
	if o.Size > wholeLimit {
		put = s.putParts
	}
	err := s3Error(put(ctx, o, content, condition))
	if errors.Is(err, ErrChanged) {
		if held, errHeld := s.Holds(ctx, o); errHeld == nil && held {
			return nil
		}
	}
	return err
}

func (s *S3) putWhole(ctx context.Context, o Object, content io.ReaderAt, condition *string) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: s.key(objectKey(o.SHA256)), Body: io.NewSectionReader(content, 0, o.Size),
		ContentLength: &o.Size, ChecksumSHA256: aws.String(base64Of(o.SHA256)), IfNoneMatch: condition,
	}, payloadDigest(o.SHA256))
	return err
}

func (s *S3) putParts(ctx context.Context, o Object, content io.ReaderAt, condition *string) (err error) {
	key := s.key(objectKey(o.SHA256))
	upload, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: key, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		_, errAbort := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: key, UploadId: upload.UploadId})
		err = errors.Join(err, errAbort)
	}()
	parts := make([]types.CompletedPart, len(o.Chunks))
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(partsAtOnce)
	for i := range o.Chunks {
		group.Go(func() (err error) {
			parts[i], err = s.putPart(sending, o, i, content, upload.UploadId)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: key, UploadId: upload.UploadId, IfNoneMatch: condition,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}

func (s *S3) putPart(ctx context.Context, o Object, i int, content io.ReaderAt, upload *string) (types.CompletedPart, error) {
	offset, length := chunkSpan(o.Size, i)
	number, checksum := aws.Int32(int32(i+1)), aws.String(base64Of(o.Chunks[i].SHA256))
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &s.bucket, Key: s.key(objectKey(o.SHA256)), UploadId: upload, PartNumber: number,
		Body: io.NewSectionReader(content, offset, length), ContentLength: &length, ChecksumSHA256: checksum,
	}, payloadDigest(o.Chunks[i].SHA256))
	if err != nil {
		return types.CompletedPart{}, fmt.Errorf("part %d: %w", i+1, err)
	}
	return types.CompletedPart{PartNumber: number, ETag: out.ETag, ChecksumSHA256: checksum}, nil
}

// Replace implements Target.
func (s *S3) Replace(ctx context.Context, key string, data []byte, was string) error {
	in := &s3.PutObjectInput{Bucket: &s.bucket, Key: s.key(key), Body: bytes.NewReader(data), ChecksumSHA256: aws.String(base64Of(sha256Of(data)))}
	switch was {
	case anyVersion:
	case "":
		in.IfNoneMatch = aws.String("*")
	default:
		in.IfMatch = &was
	}
	_, err := s.client.PutObject(ctx, in, payloadDigest(sha256Of(data)))
	err = s3Error(err)
	if errors.Is(err, ErrNotFound) && in.IfMatch != nil {
		if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok && answer.HTTPStatusCode() == http.StatusNotFound {
			return fmt.Errorf("%s: %w: it was deleted: %w", key, ErrChanged, err)
		}
	}
	return err
}

// payloadDigest gives the signer the body's digest, which is known, so that the body is read once. The store compares
// it with what arrives.
func payloadDigest(digest string) func(*s3.Options) {
	known := middleware.InitializeMiddlewareFunc("KnownPayloadDigest",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, digest), in)
		})
	return s3.WithAPIOptions(func(stack *middleware.Stack) error { return stack.Initialize.Add(known, middleware.Before) })
}

func base64Of(digest string) string {
	raw, _ := hex.DecodeString(digest) // checked when the object was made
	return base64.StdEncoding.EncodeToString(raw)
}

// compositeOf is the checksum that S3 keeps of an object in parts: that of the parts' checksums, and their number.
func compositeOf(o Object) string {
	h := sha256.New()
	for _, c := range o.Chunks {
		raw, _ := hex.DecodeString(c.SHA256)
		h.Write(raw)
	}
	return fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(h.Sum(nil)), len(o.Chunks))
}
