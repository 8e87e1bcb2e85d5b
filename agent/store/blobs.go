package store

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrLocked says that an object may not be removed yet: S3 Object Lock, or a policy that denies it.
var ErrLocked = errors.New("the object is locked")

// Blobs are large objects under the same prefix as Records: backups of etcd. They are written once, never changed.
// Methods may be called concurrently.
type Blobs interface {
	// Upload writes an object from r, whose length nobody knows. The object exists, whole, when Upload returns without an
	// error, and not at all before; one that exists already is ErrConflict. It holds a few parts in memory, never more.
	// When ctx ends, or nothing moves for too long, Upload returns although a Read of r may be under way: that one ends
	// when the caller closes what r reads from.
	Upload(ctx context.Context, key string, r io.Reader) (Blob, error)
	// Open reads length bytes from offset; length 0 means to the end. Its error is ErrAbsent only when the store said so.
	// An object, or an answer, that holds less than that is io.ErrUnexpectedEOF, from Open or from Read.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Blobs lists the objects under prefix, by key.
	Blobs(ctx context.Context, prefix string) ([]Blob, error)
	// Trace tells whether anything exists under prefix or ever did: objects, their older versions, delete markers.
	Trace(ctx context.Context, prefix string) (bool, error)
	// Remove removes an object, in a versioned bucket all its versions. ErrLocked: it stays for now.
	Remove(ctx context.Context, key string) error
}

// Store keeps both kinds of objects of one cluster.
type Store interface {
	Records
	Blobs
}

var (
	_ Store = (*S3)(nil)
	_ Store = (*Dir)(nil)
)

// stallLimit is how long a transfer may stand still.
const stallLimit = time.Minute

// Blob is one object.
type Blob struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // by the store's clock
	Version  Version   // of what Blobs and Upload saw
}
