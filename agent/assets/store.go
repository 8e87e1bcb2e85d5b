package assets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"aead.dev/minisign"

	"rekindle/agent/status"
)

// Options says where assets come from. Sources and CacheDir are required; what is zero gets its default.
type Options struct {
	Sources    []Source // in the order of preference; the first that has a manifest governs
	Authority  Source   // the one of Sources that is asked for the manifest first, where mirrors are preferred for objects
	CacheDir   string   // /var/lib/rekindle/cache
	PublicKey  string   // minisign, as in minisign.pub; without it the manifest is believed as it is
	Unverified bool     // accept a prefix that somebody filled file by file, without a manifest
	SyncLater  bool     // Fetch leaves the writing to the kernel, and the caller calls Settle when there is time for it
	Logger     *slog.Logger

	Parallel    int           // requests at a time; default 16
	ReadTimeout time.Duration // a request that delivers no byte for so long is abandoned; default 10 s
	Timeout     time.Duration // for a call whose ctx has no deadline; default 30 min
	StaleAfter  time.Duration // how long to try before the manifest of last time is used; default 15 s
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Parallel <= 0 {
		o.Parallel = 16
	}
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = 10 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Minute
	}
	if o.StaleAfter <= 0 {
		o.StaleAfter = 15 * time.Second
	}
	return o
}

// Store is the published objects as one manifest describes them, and the cache that they are brought into. It is safe
// for concurrent use; a new manifest needs a new Store.
type Store struct {
	options Options
	sources []Source
	health  []*health // one per source
	cache   *cache
	key     *minisign.PublicKey // nil: none is named
	state   State
	lister  int // of an unverified prefix: the source that listed it, the only one that its ETags mean something to

	mu       sync.Mutex // guards manifest in a store that resolves paths one by one
	manifest *Manifest
}

// State is what `rekindle status` says of a store.
type State struct {
	Source     string `json:"source"`         // where the manifest or the listing is from
	Manifest   string `json:"manifest"`       // sha256 of manifest.json; empty when unverified
	Objects    int    `json:"objects"`        // how many there are
	Signed     bool   `json:"signed"`         // the manifest's signature was verified
	Unverified bool   `json:"unverified"`     // there is no manifest: nothing is verified
	Stale      string `json:"stale,omitzero"` // why the manifest of last time had to do, or empty
}

// Open reads the store's manifest from the first source that has one, and verifies its signature if a key is named.
// When no source can be reached (or all deny access) the copy that was verified last time is used, marked stale: a node
// whose cache is warm boots without its store. A definite answer, that the manifest is missing, malformed or badly
// signed, is an error even then: the operator must see it.
func Open(ctx context.Context, options Options) (_ *Store, err error) {
	ctx, span := status.Step(ctx, "manifest")
	defer func() { span.Done(err) }()
	s := &Store{options: options.withDefaults(), sources: options.Sources}
	if len(s.sources) == 0 {
		return nil, status.Fail(status.ReasonConfigInvalid, "set store: s3://BUCKET/PREFIX", errors.New("assets: no source"))
	}
	if options.PublicKey != "" {
		s.key = new(minisign.PublicKey)
		if err := s.key.UnmarshalText([]byte(options.PublicKey)); err != nil {
			return nil, status.Fail(status.ReasonConfigInvalid, "give the line of minisign.pub that begins with RW", fmt.Errorf("assets: %w", err))
		}
	}
	for range s.sources {
		s.health = append(s.health, new(health))
	}
	if s.cache, err = openCache(options.CacheDir); err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	return s, nil
}

// Manifest is every object of the store. Of an unverified prefix it is the listing, without digests; behind https, which
// has no listing, it holds what Lookup has found so far.
func (s *Store) Manifest() *Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.manifest
}

// State describes the store for status.
func (s *Store) State() State {
	state := s.state
	state.Objects = len(s.Manifest().Objects)
	return state
}

// Lookup is the object at path, or an AssetMissing error.
func (s *Store) Lookup(ctx context.Context, path string) (Object, error) {
	if o, ok := s.Manifest().Lookup(path); ok {
		return o, nil
	}
	if s.state.Unverified {
		return s.resolve(ctx, path)
	}
	return Object{}, status.Fail(status.ReasonAssetMissing, "add it to the directory that you publish, and run rekindle publish",
		fmt.Errorf("asset %s: %w in the manifest of %s", path, ErrNotFound, s.state.Source))
}

// File is where the object is, once Fetch has brought it. It must not be written to.
func (s *Store) File(o Object) string { return s.cache.file(o) }

// maxRead bounds Read, in bytes.
const maxRead = 32 << 20

// Read fetches the small object at path and returns its content.
func (s *Store) Read(ctx context.Context, path string) ([]byte, error) {
	o, err := s.Lookup(ctx, path)
	if err != nil {
		return nil, err
	}
	if o.Size > maxRead {
		return nil, fmt.Errorf("asset %s: %d bytes is too large to be read at once; fetch it", path, o.Size)
	}
	if err := s.Fetch(ctx, o); err != nil {
		return nil, err
	}
	return os.ReadFile(s.File(o))
}

// Settle brings what Fetch wrote under SyncLater to the disk. Until then a crash of the machine costs what was lost, and
// a reading of the rest: the stamps of unsynced objects count in one boot only. A volume of 125 MB/s, as gp3 is by
// default, needs 8 s for a GiB that arrives in one, so a boot should not wait for it; an image to be baked must.
func (s *Store) Settle(ctx context.Context) error {
	return s.settle(ctx, s.Manifest().Objects)
}

func (s *Store) settle(ctx context.Context, objects []Object) error {
	for _, o := range objects {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("settle: %w", context.Cause(ctx))
		}
		if !s.cache.unsettled(o) {
			continue
		}
		if err := s.cache.settle(o); err != nil {
			return fmt.Errorf("asset %s: settle: %w", o.Path, err)
		}
	}
	return nil
}

// Prune removes from the cache what is neither in the store's manifest nor among inUse, and reports how many bytes that
// freed. A store with a stale manifest prunes nothing.
func (s *Store) Prune(ctx context.Context, inUse ...Object) (freed int64, err error) {
	if s.state.Stale != "" {
		return 0, nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	keep := make(map[string]bool)
	for _, o := range s.Manifest().Objects {
		keep[o.name()] = true
	}
	for _, o := range inUse {
		keep[o.name()] = true
	}
	return s.cache.prune(ctx, keep)
}

// locate is the object's key in its source.
func (s *Store) locate(o Object) string {
	if o.SHA256 == "" {
		return o.Path
	}
	return objectKey(o.SHA256)
}

// serves reports whether source i may deliver the object.
func (s *Store) serves(i int, o Object) bool { return o.SHA256 != "" || i == s.lister }
