package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"
)

// How one request is repeated, beyond what the client does by itself.
const (
	tries      = 6
	firstPause = 200 * time.Millisecond // give or take a third; doubled after each try
	maxPause   = 5 * time.Second
	goodbye    = 10 * time.Second // to look or to clean up after the caller's context has ended
	assembling = 10               // times the limit on standing still, for the store to put the parts together
)

// multipart uploads in parts. The object comes into being with the last request.
func (u *upload) multipart(ctx context.Context, first part, rest *parts) (Blob, error) {
	id, err := u.create(ctx)
	if err != nil {
		return Blob{}, fmt.Errorf("begin in parts: %w", err)
	}
	done, err := u.parts(ctx, id, first, rest)
	if err != nil {
		return Blob{}, errors.Join(because(ctx, err), u.abort(ctx, id))
	}
	u.watch.rest()
	finishing, cancel := context.WithTimeout(ctx, assembling*u.stall)
	defer cancel()
	blob, err := u.conclude(finishing, func(ctx context.Context) (Blob, error) { return u.complete(ctx, id, done) })
	if err == nil {
		return blob, nil
	}
	failed := errors.Join(err, u.abort(ctx, id))
	if errors.Is(err, ErrConflict) {
		return Blob{}, failed
	}
	// Once aborted it is decided: a request that was still under way has made the object, or never will.
	if blob, err := u.readBack(ctx); err == nil {
		return blob, nil
	}
	return Blob{}, failed
}

// create waits for its answer a little longer than ctx lives: without the id nobody can abort.
func (u *upload) create(ctx context.Context) (id string, err error) {
	ctx, cancel := outliving(ctx, goodbye)
	defer cancel()
	in := &s3.CreateMultipartUploadInput{
		Bucket: &u.bucket, Key: u.key(u.name), Metadata: u.metadata(), ContentType: aws.String(blobType),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	}
	in.ServerSideEncryption, in.SSEKMSKeyId, in.BucketKeyEnabled = u.encryption(u.name)
	err = persist(ctx, func(ctx context.Context) error {
		out, err := u.client.CreateMultipartUpload(ctx, in)
		if err == nil {
			id = aws.ToString(out.UploadId)
		}
		return err
	})
	return id, err
}

// parts sends all of them, and returns when none is under way any more.
func (u *upload) parts(ctx context.Context, id string, next part, rest *parts) ([]types.CompletedPart, error) {
	var done []*types.CompletedPart
	senders, sending := errgroup.WithContext(ctx)
	var err error
	for !next.last || len(next.data) > 0 { // the last one is empty when the size is a multiple of the parts'
		completed, sent := new(types.CompletedPart), next
		done = append(done, completed)
		u.size += int64(len(sent.data))
		senders.Go(func() (err error) {
			*completed, err = u.part(sending, id, sent)
			rest.done(sent)
			return err
		})
		if next.last {
			break
		}
		if next, err = rest.next(sending); err != nil {
			break
		}
	}
	if failed := senders.Wait(); failed != nil {
		return nil, failed
	}
	all := make([]types.CompletedPart, 0, len(done))
	for _, completed := range done {
		all = append(all, *completed)
	}
	return all, err
}

func (u *upload) part(ctx context.Context, id string, p part) (types.CompletedPart, error) {
	in := &s3.UploadPartInput{
		Bucket: &u.bucket, Key: u.key(u.name), UploadId: &id, PartNumber: aws.Int32(int32(p.n + 1)),
		ChecksumCRC32: checksum(p.data),
	}
	done := types.CompletedPart{PartNumber: in.PartNumber}
	err := persist(ctx, func(ctx context.Context) error {
		in.Body = u.body(p.data)
		out, err := u.client.UploadPart(ctx, in)
		if err == nil {
			done.ETag, done.ChecksumCRC32 = out.ETag, out.ChecksumCRC32
		}
		return err
	})
	if err != nil {
		return done, fmt.Errorf("part %d: %w", p.n+1, err)
	}
	return done, nil
}

// complete puts the parts together, unless there is an object by that name.
func (u *upload) complete(ctx context.Context, id string, parts []types.CompletedPart) (Blob, error) {
	out, err := u.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.bucket, Key: u.key(u.name), UploadId: &id, IfNoneMatch: aws.String("*"), MpuObjectSize: &u.size,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil {
		return Blob{}, fmt.Errorf("put the parts together: %w", err)
	}
	blob, err := u.readBack(ctx) // for the time and the version
	if status(err) == http.StatusForbidden {
		return u.answered(out.ETag, out.ResultMetadata), nil
	}
	return blob, err
}

// abort frees the parts, whatever became of the caller's context. A part whose connection was cut may arrive late, so it asks
// until the store knows the upload no more (https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html).
func (u *upload) abort(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	const times = 3
	var err error
	for i := range times {
		if i > 0 && !sleep(ctx, jittered(firstPause)) { // what was under way has arrived by then
			return nil
		}
		err = persist(ctx, func(ctx context.Context) error {
			_, err := u.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.bucket, Key: u.key(u.name), UploadId: &id})
			return err
		})
		if code(err) == "NoSuchUpload" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("its parts remain until a lifecycle rule removes them (is s3:AbortMultipartUpload allowed?): %w", err)
		}
	}
	return nil
}

// outliving is a context that ends that much later than ctx.
func outliving(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	late, end := context.WithCancelCause(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(by):
			end(context.Cause(ctx))
		case <-ended:
		}
	})
	return late, func() { stop(); close(ended); end(nil) }
}

// persist repeats a request that may be repeated.
func persist(ctx context.Context, request func(context.Context) error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := request(ctx)
		if err == nil || attempt == tries || ctx.Err() != nil || !passing(err) {
			return err
		}
		if !sleep(ctx, jittered(pause)) {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

// sleep waits, and says whether ctx is still alive then.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// standard knows which errors the SDK repeats.
var standard = retry.NewStandard()

// passing tells that the same request may succeed later: the SDK's own opinion, bytes that were damaged on the way, and
// answers that were cut off.
func passing(err error) bool {
	switch code(err) {
	case "BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeout":
		return true
	}
	_, garbled := errors.AsType[*smithy.DeserializationError](err)
	return garbled || standard.IsErrorRetryable(err)
}

// undecided tells that a write may still be done: by another attempt, or by one that is under way in the store.
func undecided(err error) bool {
	return passing(err) || conflict(err, false) || code(err) == "NoSuchUpload"
}
