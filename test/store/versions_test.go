package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rekindle/agent/store"
	"rekindle/agent/store/storetest"
	lab "rekindle/test/s3"
)

const roleARN = "arn:aws-cn:iam::123456789012:role/master"

var roleKey = lab.Key{ID: "ASIAMASTER0000000001", Secret: "secret of the role"}

func roles(key string) (lab.Identity, bool) {
	return lab.Identity{
		SecretKey: roleKey.Secret, Token: "token", Expires: time.Now().Add(time.Hour), RoleARN: roleARN,
		ARN: "arn:aws-cn:sts::123456789012:assumed-role/master/i-0",
	}, key == roleKey.ID
}

// role is the store as a role with these actions sees it.
func (p *place) role(prefix string, actions ...string) *store.S3 {
	p.t.Helper()
	err := p.SetPolicy(p.t.Context(), bucket,
		lab.Statement{Principals: []string{roleARN}, Actions: actions, Resources: []string{"*"}},
		lab.Statement{Principals: []string{roleARN}, Actions: []string{"s3:ListBucket"}, Resources: []string{""}})
	if err != nil {
		p.t.Fatal(err)
	}
	return store.NewS3(p.as(roleKey, "token").S3(""), bucket, prefix)
}

// versions counts what the bucket keeps under a key or prefix.
func (p *place) versions(prefix string) (versions, markers int) {
	p.t.Helper()
	out, err := p.s3().ListObjectVersions(p.t.Context(), &s3.ListObjectVersionsInput{Bucket: new(bucket), Prefix: &prefix})
	if err != nil {
		p.t.Fatal(err)
	}
	return len(out.Versions), len(out.DeleteMarkers)
}

// TestVersions: a delete marker and an older version are traces; Remove leaves neither, and touches nothing else.
func TestVersions(t *testing.T) {
	p := newPlace(t, versioned)
	blobs := p.open("p")
	for _, key := range []string{"b", "b.sum"} {
		p.upload(blobs, key, 1, large)
		for range 2 {
			in := &s3.PutObjectInput{Bucket: new(bucket), Key: new("p/" + key), Body: strings.NewReader("written over")}
			if _, err := p.s3().PutObject(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 { // as people do; the server takes only markers on top of a marker, so they come last
		if err := blobs.Delete(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
	if versions, markers := p.versions("p/b"); versions != 6 || markers != 2 {
		t.Fatalf("%d versions and %d markers to begin with", versions, markers)
	}
	if listed, err := blobs.Blobs(t.Context(), ""); err != nil || len(listed) != 1 {
		t.Errorf("%v, %v", listed, err)
	}
	if trace, err := blobs.Trace(t.Context(), "b"); err != nil || !trace {
		t.Errorf("deleted, and no trace: %t, %v", trace, err)
	}
	for range 2 {
		if err := blobs.Remove(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
	if versions, markers := p.versions("p/"); versions != 3 || markers != 0 {
		t.Errorf("%d versions and %d markers are left", versions, markers)
	}
	if err := blobs.Remove(t.Context(), "b.sum"); err != nil {
		t.Fatal(err)
	}
	if versions, markers := p.versions("p/"); versions+markers != 0 {
		t.Errorf("%d versions and %d markers are left", versions, markers)
	}
	if trace, err := blobs.Trace(t.Context(), ""); err != nil || trace {
		t.Errorf("all removed: %t, %v", trace, err)
	}
}

// TestObjectLock: what is locked stays, with its data, under whatever was put on top of it.
func TestObjectLock(t *testing.T) {
	p := newPlace(t, locking)
	actions := []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:AbortMultipartUpload"}
	err := p.SetPolicy(t.Context(), bucket,
		lab.Statement{Principals: []string{roleARN}, Actions: actions, Resources: []string{"*"}},
		lab.Statement{Principals: []string{roleARN}, Actions: []string{"s3:ListBucket", "s3:ListBucketVersions"}, Resources: []string{""}})
	if err != nil {
		t.Fatal(err)
	}
	blobs := store.NewS3(p.as(roleKey, "token").S3(""), bucket, "p")
	for key, size := range map[string]int64{"small": small, "large": large} {
		p.upload(blobs, key, 1, size)
		err := blobs.Remove(t.Context(), key)
		if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "s3://store/p/"+key) || !strings.Contains(err.Error(), "object lock") {
			t.Errorf("%s: %v", key, err)
		}
		p.holds(blobs, key, 1, size)
	}
	if err := blobs.Delete(t.Context(), "small"); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Remove(t.Context(), "small"); !errors.Is(err, store.ErrLocked) {
		t.Errorf("under a delete marker: %v", err)
	}
	if versions, markers := p.versions("p/small"); versions != 1 || markers != 1 {
		t.Errorf("%d versions and %d markers: the marker is to stay with what it hides", versions, markers)
	}
	hold := types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn}
	if _, err := p.s3().PutObjectLegalHold(t.Context(), &s3.PutObjectLegalHoldInput{Bucket: new(bucket), Key: new("p/large"), LegalHold: &hold}); err != nil {
		t.Fatal(err)
	}
	if err := p.open("p").Remove(t.Context(), "large"); !errors.Is(err, store.ErrLocked) {
		t.Errorf("under a legal hold: %v", err)
	}
	p.nothingLeft()
}

// TestPermissions: what the role may not do is named, and never taken for an empty store.
func TestPermissions(t *testing.T) {
	p := newPlace(t, versioned)
	p.upload(p.open("p"), "b", 1, small)
	few := p.role("p", "s3:GetObject", "s3:PutObject")
	if trace, err := few.Trace(t.Context(), "none"); err == nil || trace || !strings.Contains(err.Error(), "s3:ListBucketVersions") {
		t.Errorf("%t, %v", trace, err)
	}
	if err := few.Remove(t.Context(), "b"); err == nil || !strings.Contains(err.Error(), "s3:ListBucketVersions") {
		t.Error(err)
	}
	blind := p.role("p", "s3:PutObject", "s3:AbortMultipartUpload")
	for key, size := range map[string]int64{"small": small, "large": large} {
		if blob, err := blind.Upload(t.Context(), key, storetest.Noise(1, size)); err != nil || blob.Size != size {
			t.Errorf("without s3:GetObject: %+v, %v", blob, err)
		}
		if _, err := blind.Upload(t.Context(), key, storetest.Noise(2, size)); !errors.Is(err, store.ErrConflict) {
			t.Errorf("without s3:GetObject, again: %v", err)
		}
	}
	if _, err := blind.Open(t.Context(), "b", 0, 0); err == nil || errors.Is(err, store.ErrAbsent) {
		t.Error(err)
	}
	p.nothingLeft()
}
