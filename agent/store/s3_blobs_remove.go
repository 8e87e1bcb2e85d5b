package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Remove implements Blobs. It needs s3:ListBucketVersions and s3:DeleteObjectVersion; for a store without versions
// s3:DeleteObject.
//
// Data goes first, the oldest version before the newer ones, and delete markers last: whatever stops it half-way, an older
// version does not come to light again.
func (s *S3) Remove(ctx context.Context, key string) error {
	if err := s.blob(key); err != nil {
		return err
	}
	versions, markers, err := s.versions(ctx, *s.key(key))
	if err != nil && !unversioned(err) {
		return s.versionsError(key, err)
	}
	if len(versions)+len(markers) == 0 {
		return s.removeUnversioned(ctx, key)
	}
	slices.Reverse(versions)
	for _, version := range append(versions, markers...) {
		_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.key(key), VersionId: version})
		switch {
		case err == nil, absent(err):
		case locked(err):
			return fmt.Errorf("%s/%s: %w: version %q: %w", s, key, ErrLocked, aws.ToString(version), err)
		default:
			return fmt.Errorf("%s/%s: version %q: %w", s, key, aws.ToString(version), err)
		}
	}
	return nil
}

// removeUnversioned is for stores that know no versions. An object that is not there is left alone: where there are
// versions after all, deleting it would leave a delete marker, which is a trace.
func (s *S3) removeUnversioned(ctx context.Context, key string) error {
	_, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.key(key)})
	if err == nil {
		_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.key(key)})
		if locked(err) {
			err = fmt.Errorf("%w: %w", ErrLocked, err)
		}
	}
	if err == nil || absent(err) {
		return nil
	}
	return fmt.Errorf("%s/%s: remove: %w", s, key, err)
}

// versions lists the versions of one object and its delete markers, the newest first. A listing by prefix holds other
// objects, too, whose names are longer; they come after it.
func (s *S3) versions(ctx context.Context, key string) (versions, markers []*string, err error) {
	pages := s3.NewListObjectVersionsPaginator(s.client, &s3.ListObjectVersionsInput{Bucket: &s.bucket, Prefix: &key})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, err
		}
		past := false
		for _, v := range page.Versions {
			if aws.ToString(v.Key) == key {
				versions = append(versions, v.VersionId)
			}
			past = past || aws.ToString(v.Key) > key
		}
		for _, m := range page.DeleteMarkers {
			if aws.ToString(m.Key) == key {
				markers = append(markers, m.VersionId)
			}
			past = past || aws.ToString(m.Key) > key
		}
		if past {
			break
		}
	}
	return versions, markers, nil
}

// locked tells that an object must stay. S3 answers AccessDenied for Object Lock as for a policy; older stores say
// that it is WORM protected (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html).
func locked(err error) bool {
	switch code(err) {
	case "AccessDenied", "ObjectLocked", "MethodNotAllowed":
		return true
	case "InvalidRequest":
		return strings.Contains(err.Error(), "WORM")
	}
	return false
}

// absent tells that the store has no such object.
func absent(err error) bool {
	if errors.Is(err, ErrAbsent) {
		return true
	}
	switch code(err) {
	case "NoSuchKey", "NoSuchVersion", "NotFound":
		return true
	}
	return false
}
