package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
)

// nonceKey is the metadata by which an upload knows its own object again (x-amz-meta-rekindle-upload).
const nonceKey = "rekindle-upload"

// upload is one object on its way into the store. Its fields belong to Upload, and to the parts for reading.
type upload struct {
	*S3
	name  string
	nonce string
	watch *watch
	size  int64 // bytes read so far
}

// Upload implements Blobs. It needs s3:PutObject, s3:AbortMultipartUpload, and s3:GetObject to look at what became of a
// write whose answer was lost.
//
// A multipart upload is begun when there is more than one part, and aborted when it fails. What a killed process, or the
// lost answer to its beginning, leaves behind is for the bucket's lifecycle rule (AbortIncompleteMultipartUpload).
func (s *S3) Upload(ctx context.Context, key string, r io.Reader) (Blob, error) {
	if err := s.blob(key); err != nil {
		return Blob{}, err
	}
	ctx, watch := watched(ctx, s.stall)
	defer watch.stop()
	u := &upload{S3: s, name: key, nonce: rand.Text(), watch: watch}
	blob, err := u.run(ctx, r)
	if err != nil {
		return Blob{}, fmt.Errorf("%s/%s: upload: %w", s, key, because(ctx, err))
	}
	return blob, nil
}

func (u *upload) run(ctx context.Context, r io.Reader) (Blob, error) {
	parts := cut(ctx, r, u.watch)
	first, err := parts.next(ctx)
	if err != nil {
		return Blob{}, err
	}
	if first.last {
		u.size = int64(len(first.data))
		return u.conclude(ctx, func(ctx context.Context) (Blob, error) { return u.put(ctx, first.data) })
	}
	return u.multipart(ctx, first, parts)
}

// put writes a small object at once.
func (u *upload) put(ctx context.Context, data []byte) (Blob, error) {
	in := &s3.PutObjectInput{
		Bucket: &u.bucket, Key: u.key(u.name), Body: u.body(data), ChecksumCRC32: checksum(data),
		IfNoneMatch: aws.String("*"), Metadata: u.metadata(), ContentType: aws.String(blobType),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId, in.BucketKeyEnabled = u.encryption(u.name)
	out, err := u.client.PutObject(ctx, in)
	if err != nil {
		return Blob{}, err
	}
	return u.answered(out.ETag, out.ResultMetadata), nil
}

// answered is the blob as the answer to a write tells of it: at the time of the answer, within seconds of the object's.
func (u *upload) answered(etag *string, answer middleware.Metadata) Blob {
	modified, ok := awsmiddleware.GetServerTime(answer)
	if !ok {
		modified = time.Now()
	}
	return Blob{Key: u.name, Size: u.size, Modified: modified, Version: Version(aws.ToString(etag))}
}

const blobType = "application/octet-stream"

func (u *upload) metadata() map[string]string { return map[string]string{nonceKey: u.nonce} }

// checksum is what the store compares the bytes with. It goes into a header, made by hand: several compatible stores
// refuse the trailer that the SDK would send, and buckets with Object Lock refuse a write without any.
func checksum(data []byte) *string {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
	return aws.String(base64.StdEncoding.EncodeToString(sum))
}

// sent is a request's body that tells the watch when it moves.
type sent struct {
	bytes *bytes.Reader
	watch *watch
}

func (u *upload) body(data []byte) *sent { return &sent{bytes.NewReader(data), u.watch} }

// Read implements io.Reader.
func (s *sent) Read(p []byte) (int, error) {
	s.watch.moved()
	return s.bytes.Read(p)
}

// Seek implements io.Seeker, for another attempt.
func (s *sent) Seek(offset int64, whence int) (int64, error) { return s.bytes.Seek(offset, whence) }

// conclude makes the write that the object's existence depends on, and finds out whether it was done: the answer may be
// lost, and a refusal may be due to an earlier attempt that was done (aws-sdk-java-v2#6580).
func (u *upload) conclude(ctx context.Context, write func(context.Context) (Blob, error)) (Blob, error) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		blob, err := write(ctx)
		if err == nil {
			return blob, nil
		}
		err = because(ctx, err)
		blob, seen := u.readBack(ctx)
		if seen == nil || errors.Is(seen, ErrConflict) {
			return blob, seen
		}
		if attempt == tries || ctx.Err() != nil || !undecided(err) || status(seen) == http.StatusForbidden {
			return Blob{}, refused(err, seen)
		}
		if !sleep(ctx, jittered(pause)) {
			return Blob{}, because(ctx, err)
		}
		pause = min(2*pause, maxPause)
	}
}

// refused is the end of a write that was not done, or not for all that is known.
func refused(err, seen error) error {
	switch {
	case !conflict(err, false) && errors.Is(seen, ErrAbsent):
		return err
	case errors.Is(seen, ErrAbsent):
		return fmt.Errorf("refused for an object that is not there; upload it again: %w", err)
	case conflict(err, false):
		return fmt.Errorf("%w: %w (and it cannot be read: %w)", ErrConflict, err, seen)
	}
	return fmt.Errorf("%w; whether it was done is unknown: %w", err, seen)
}

// readBack looks whether the object is there and this upload's; ErrConflict: it is another's. It has a deadline of its own,
// as the caller's may be over.
func (u *upload) readBack(ctx context.Context) (Blob, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	var out *s3.HeadObjectOutput
	err := persist(ctx, func(ctx context.Context) (err error) {
		out, err = u.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.bucket, Key: u.key(u.name)})
		return err
	})
	switch {
	case absent(err):
		return Blob{}, fmt.Errorf("read back: %w", ErrAbsent)
	case err != nil:
		return Blob{}, fmt.Errorf("read back: %w", err)
	case out.Metadata[nonceKey] != u.nonce:
		return Blob{}, ErrConflict
	case aws.ToInt64(out.ContentLength) != u.size:
		return Blob{}, fmt.Errorf("read back: the store has %d bytes of %d", aws.ToInt64(out.ContentLength), u.size)
	}
	return Blob{Key: u.name, Size: u.size, Modified: aws.ToTime(out.LastModified), Version: Version(aws.ToString(out.ETag))}, nil
}
