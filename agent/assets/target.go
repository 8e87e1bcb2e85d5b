package assets

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// anyVersion makes Replace write whatever is there.
const anyVersion = "*"

// Target is a source that can be published to. Unlike a source it may retry by itself.
type Target interface {
	Source
	// Holds reports whether the object is there, of the right size and, where the place keeps checksums, content.
	Holds(ctx context.Context, o Object) (bool, error)
	// Put stores the object under objects/<sha256>: it is visible whole or not at all. Content that does not match
	// the object's digests is an error. Putting what is there already is none.
	Put(ctx context.Context, o Object, content io.ReaderAt) error
	// Replace writes a small key in one step, if its ETag is still was ("": there is no such key); else it returns
	// ErrChanged and has written nothing.
	Replace(ctx context.Context, key string, data []byte, was string) error
}

// ParseTarget makes the target that ref names: s3://bucket/prefix or dir:///path.
func ParseTarget(ref string, newS3 func(bucket string) *s3.Client) (Target, error) {
	src, err := ParseSource(ref, newS3, http.DefaultClient)
	if err != nil {
		return nil, err
	}
	target, ok := src.(Target)
	if !ok {
		return nil, fmt.Errorf("target %q: can be read only; publish to s3:// or dir:///", ref)
	}
	return target, nil
}
