package assets

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"aead.dev/minisign"
	"golang.org/x/sync/errgroup"
)

// PublishOptions says what is published where.
type PublishOptions struct {
	Dir      string
	Target   Target
	Key      *minisign.PrivateKey // signs the manifest; nil publishes it unsigned. SecretKey reads one.
	Parallel int                  // objects uploaded at a time; default 4
	Progress func(Progress)       // if set, called often, by one goroutine at a time
}

// Progress is how far a publication is.
type Progress struct {
	Phase string // "hash", then "upload"
	Done  int64  // bytes
	Total int64  // bytes
}

// Result is what a publication did.
type Result struct {
	Manifest  string // sha256 of manifest.json
	Objects   int
	Bytes     int64
	Uploaded  int // objects that were not there yet
	Sent      int64
	Unchanged bool // the store had this very manifest already
}

// Publish makes the files of a directory the store's objects: it hashes them, uploads those that are missing, and
// replaces the manifest last, in one step. Nodes see the old publication or the new one. What was uploaded before an
// interruption is found there by the next run, and objects of older manifests stay.
//
// Two publishers cannot overwrite each other unseen: the one that comes second gets ErrChanged.
func Publish(ctx context.Context, options PublishOptions) (Result, error) {
	result, err := publish(ctx, options)
	if errors.Is(err, ErrChanged) {
		err = fmt.Errorf("%w; somebody else publishes or edits at the same time: look at who, then run rekindle publish again", err)
	}
	if errors.Is(err, ErrDenied) {
		err = fmt.Errorf("%w; allow s3:PutObject, s3:GetObject and s3:ListBucket on the store", err)
	}
	if err != nil {
		return result, fmt.Errorf("publish %s to %s: %w", options.Dir, options.Target, err)
	}
	return result, nil
}

func publish(ctx context.Context, options PublishOptions) (result Result, err error) {
	root, err := os.OpenRoot(options.Dir)
	if err != nil {
		return result, err
	}
	defer root.Close()
	before, err := look(ctx, options.Target)
	if err != nil {
		return result, err
	}
	if before.signature != nil && options.Key == nil {
		return result, fmt.Errorf("the store is signed, and nodes that know its key would refuse an unsigned manifest: "+
			"give --sign KEY, or delete %s first", signatureKey)
	}
	progress := newMeter(options.Progress)
	m, err := scan(ctx, root, func(total int64) func(int64) { return progress.phase("hash", total) })
	if err != nil {
		return result, err
	}
	data, err := m.Encode()
	if err != nil {
		return result, err
	}
	result = Result{Manifest: sha256Of(data), Objects: len(m.Objects), Bytes: m.Total()}
	if err := upload(ctx, root, options, m, progress.phase("upload", m.Total()), &result); err != nil {
		return result, err
	}
	return result, commit(ctx, root, options, m, data, before, &result)
}

// found is the state of the store before a publication; what it replaces must still be this.
type found struct {
	manifest, signature, cluster []byte // nil: not there
	manifestETag, clusterETag    string
}

func look(ctx context.Context, target Target) (f found, err error) {
	if f.manifest, f.manifestETag, err = version(ctx, target, manifestKey); err != nil {
		return f, err
	}
	if f.cluster, f.clusterETag, err = version(ctx, target, clusterKey); err != nil {
		return f, err
	}
	f.signature, _, err = version(ctx, target, signatureKey)
	return f, err
}

// version reads a small key together with the ETag that belongs to it; both are empty when it is not there.
func version(ctx context.Context, target Target, key string) ([]byte, string, error) {
	info, err := retry(ctx, func(ctx context.Context) (Info, error) { return target.Stat(ctx, key) })
	if errors.Is(err, ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", key, err)
	}
	data, err := get(ctx, target, key, Range{ETag: info.ETag}, maxManifest)
	return data, info.ETag, err
}

// upload brings every object that the target does not hold to it, each digest once.
func upload(ctx context.Context, root *os.Root, options PublishOptions, m *Manifest, report func(int64), result *Result) error {
	var mu sync.Mutex
	seen := make(map[string]bool)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(max(options.Parallel, 0), 4))
	for _, o := range m.Objects {
		if seen[o.SHA256] {
			report(o.Size)
			continue
		}
		seen[o.SHA256] = true
		group.Go(func() error {
			sent, err := uploadOne(ctx, root, options.Target, o)
			if err != nil {
				return fmt.Errorf("%s: %w", o.Path, err)
			}
			report(o.Size)
			if sent {
				mu.Lock()
				defer mu.Unlock()
				result.Uploaded++
				result.Sent += o.Size
			}
			return nil
		})
	}
	return group.Wait()
}

func uploadOne(ctx context.Context, root *os.Root, target Target, o Object) (sent bool, err error) {
	held, err := target.Holds(ctx, o)
	if err != nil || held {
		return false, err
	}
	f, err := root.Open(filepath.FromSlash(o.Path))
	if err != nil {
		return false, err
	}
	defer f.Close()
	return true, target.Put(ctx, o, f)
}

// commit replaces the manifest. The signature is there under the manifest's digest before the manifest is, so no reader
// meets a manifest without one; its well-known name follows, for people and for `minisign -V`. See signatureOf.
func commit(ctx context.Context, root *os.Root, options PublishOptions, m *Manifest, data []byte, before found, result *Result) error {
	result.Unchanged = bytes.Equal(before.manifest, data)
	target := options.Target
	var signature []byte
	if options.Key != nil {
		public := options.Key.Public().(minisign.PublicKey)
		if signature = before.signature; !result.Unchanged || !minisign.Verify(public, data, signature) {
			result.Unchanged = false
			signature = minisign.Sign(*options.Key, data)
			if err := target.Replace(ctx, signedKey(data), signature, anyVersion); err != nil {
				return fmt.Errorf("signature: %w", err)
			}
		}
	}
	if !bytes.Equal(before.manifest, data) {
		if err := replace(ctx, target, manifestKey, data, before.manifestETag); err != nil {
			return err
		}
	}
	if signature != nil && !bytes.Equal(before.signature, signature) {
		if err := target.Replace(ctx, signatureKey, signature, anyVersion); err != nil {
			return fmt.Errorf("signature: %w", err)
		}
	}
	published, ok := m.Lookup(clusterKey)
	if !ok {
		return nil // one that somebody wrote to the store directly stays
	}
	cluster, err := root.ReadFile(clusterKey)
	switch {
	case err != nil:
		return err
	case sha256Of(cluster) != published.SHA256:
		return fmt.Errorf("%s: %w while it was published", clusterKey, ErrChanged)
	case before.cluster != nil && bytes.Equal(before.cluster, cluster):
		return nil
	}
	result.Unchanged = false
	return replace(ctx, target, clusterKey, cluster, before.clusterETag)
}

// replace is Replace that knows its own work again: when the answer to a conditional write is lost, the retry of it
// is refused because the first try succeeded.
func replace(ctx context.Context, target Target, key string, data []byte, was string) error {
	err := target.Replace(ctx, key, data, was)
	if errors.Is(err, ErrChanged) {
		if now, errNow := Get(ctx, target, key, maxManifest); errNow == nil && bytes.Equal(now, data) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}
