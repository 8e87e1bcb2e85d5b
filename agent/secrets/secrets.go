// Package secrets reads what a config.Ref points to, at the moment it is applied: secrets never enter Config, Facts or
// Plan.
//
// To add a kind of reference: a case in Read, its form in agent/config's validation, a line in docs/config.md.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"rekindle/agent/status"
	"rekindle/agent/store"
)

// MaxSize bounds a secret, in bytes.
const MaxSize = 1 << 20

// Reader reads references. A function that is nil means that this kind cannot be read here.
type Reader struct {
	Records store.Records // for "s3:path/in/store"
	S3      func() *s3.Client
	// Parameter is SSM's GetParameter, for "ssm:/name".
	Parameter func(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
	// Path is where a path of the node really lies, for "file:/path".
	Path func(path string) (string, error)
}

// Read returns the bytes that ref points to: "s3:path/in/store", "s3://bucket/key", "ssm:/name" (decrypted) or
// "file:/path". The error never holds the secret.
func (r *Reader) Read(ctx context.Context, ref string) ([]byte, error) {
	kind, rest, _ := strings.Cut(ref, ":")
	var data []byte
	var err error
	switch {
	case kind == "s3" && strings.HasPrefix(rest, "//"):
		data, err = r.object(ctx, strings.TrimPrefix(rest, "//"))
	case kind == "s3" && r.Records != nil:
		data, _, err = r.Records.Get(ctx, rest)
		if errors.Is(err, store.ErrAbsent) {
			err = status.Fail(status.ReasonAssetMissing, "put the object into the store, or correct the reference", err)
		}
	case kind == "ssm" && r.Parameter != nil:
		data, err = r.parameter(ctx, rest)
	case kind == "file" && r.Path != nil:
		data, err = r.file(rest)
	default:
		err = errors.New("this kind of reference cannot be read here: use s3:, ssm: or file:")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return data, nil
}

func (r *Reader) object(ctx context.Context, place string) ([]byte, error) {
	bucket, key, _ := strings.Cut(place, "/")
	if r.S3 == nil || bucket == "" || key == "" {
		return nil, errors.New("not s3://bucket/key")
	}
	out, err := r.S3().GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, status.Fail(status.ReasonStoreDenied, "allow s3:GetObject on it, and kms:Decrypt on its key", err)
	}
	defer out.Body.Close()
	return read(out.Body)
}

func (r *Reader) parameter(ctx context.Context, name string) ([]byte, error) {
	out, err := r.Parameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if err != nil {
		return nil, status.Fail(status.ReasonStoreDenied, "allow ssm:GetParameter on it, and kms:Decrypt on its key", err)
	}
	return []byte(aws.ToString(out.Parameter.Value)), nil
}

func (r *Reader) file(path string) ([]byte, error) {
	real, err := r.Path(path)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(real)
	if err != nil {
		return nil, status.Fail(status.ReasonApplyFailed, "bake the file into the image, or correct the reference", err)
	}
	defer file.Close()
	return read(file)
}

func read(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("larger than %d bytes", MaxSize)
	}
	return data, err
}
