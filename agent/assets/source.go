package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Source is one place that holds a store: its keys are the store's paths (manifest.json, objects/<sha256> ...).
//
// A source is safe for concurrent use, does not retry, and does not verify: both are done above it. Its errors wrap
// ErrNotFound, ErrDenied or ErrChanged where they apply; any other error is taken to be temporary.
type Source interface {
	// String is its reference, as in the configuration: "s3://bucket/prefix", "https://host/path", "dir:///path".
	String() string
	// Get opens a range of the object at key. The caller closes the body. It ends early only with an error.
	Get(ctx context.Context, key string, r Range) (io.ReadCloser, error)
	// Stat is the size and version of the object at key.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects below prefix ("" or "roles/") in the order of their keys. A source that cannot list
	// yields ErrNoListing.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}

// Range is a part of an object.
type Range struct {
	Offset int64
	Length int64  // bytes; 0 is all of the object, however long it is, and then Offset is 0
	ETag   string // if set, the version that the object must have; else ErrChanged
}

// Info is what a source says of an object.
type Info struct {
	Key  string
	Size int64  // bytes
	ETag string // changes whenever the content does
}

// What a caller of a source, or of a Store, may branch on.
var (
	ErrNotFound  = errors.New("not found")
	ErrDenied    = errors.New("access denied")
	ErrChanged   = errors.New("changed meanwhile")
	ErrNoListing = errors.New("this kind of source has no listing")
)

// The store's layout, as far as this package reads and writes it. DESIGN.md has the whole.
const (
	manifestKey  = "manifest.json"
	signatureKey = "manifest.minisig"
	clusterKey   = "cluster.yaml"
	objectPrefix = "objects/"
)

func objectKey(sha256 string) string { return objectPrefix + sha256 }

// ParseSource makes the source that ref names. newS3 is asked for a client for the bucket, whose region it may have to
// find; client serves https sources.
//
// http:// is accepted for loopback addresses only (a proxy or mirror on the node itself). A mirror is trusted for
// nothing, but without TLS its address could be taken over by anyone on the path, and a store without a signing key
// has nothing else that says the manifest is the operator's.
func ParseSource(ref string, newS3 func(bucket string) *s3.Client, client *http.Client) (Source, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return nil, fmt.Errorf("source %q: %w", ref, err)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("source %q: has a query, a fragment or a password; give scheme, host and path only", ref)
	}
	switch u.Scheme {
	case "s3":
		prefix := strings.Trim(u.Path, "/")
		if u.Host == "" || (prefix != "" && prefix != path.Clean(prefix)) {
			return nil, fmt.Errorf("source %q: want s3://bucket or s3://bucket/prefix", ref)
		}
		return NewS3(newS3(u.Host), u.Host, prefix), nil
	case "http":
		if !loopback(u.Hostname()) {
			return nil, fmt.Errorf("source %q: http is for loopback addresses only; use https", ref)
		}
		fallthrough
	case "https":
		if u.Host == "" {
			return nil, fmt.Errorf("source %q: want https://host/path", ref)
		}
		return NewHTTP(client, ref), nil
	case "dir":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return nil, fmt.Errorf("source %q: want an absolute path, as in dir:///srv/store", ref)
		}
		return NewDir(u.Path), nil
	}
	return nil, fmt.Errorf("source %q: unknown scheme; want s3://, https:// or dir:///", ref)
}
