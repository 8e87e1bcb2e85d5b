package assets

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rekindle/agent/status"
)

// loadListing makes the first source that has no manifest an unverified prefix. done is false when there is none yet:
// no source has said that it has no manifest, or the listing failed for now.
func (s *Store) loadListing(ctx context.Context, answers []error) (done bool, err error) {
	if s.key != nil {
		return true, status.Fail(status.ReasonSignature, "publish with --sign, or name no key: an unverified prefix cannot be signed", reasons(answers))
	}
	i := slices.IndexFunc(answers, func(err error) bool { return errors.Is(err, ErrNotFound) })
	if i < 0 {
		return false, nil
	}
	src := s.sources[i]
	found := saved{Source: src.String(), Listing: []Info{}}
	for info, err := range src.List(ctx, "") {
		if errors.Is(err, ErrNoListing) {
			break // its objects are resolved one by one
		}
		if err != nil {
			s.options.Logger.Info("assets: no listing", "source", src.String(), "error", err)
			answers[i] = fmt.Errorf("%s: listing: %w", src, err)
			return false, nil
		}
		if info.tooOdd() != nil {
			s.options.Logger.Warn("assets: object ignored", "source", src.String(), "path", info.Key, "error", info.tooOdd())
			continue
		}
		if found.Listing = append(found.Listing, info); len(found.Listing) > maxObjects {
			return true, status.Fail(status.ReasonConfigInvalid, "give the store a prefix of its own",
				fmt.Errorf("%s: more than %d objects", src, maxObjects))
		}
	}
	return true, s.accept(found)
}

// tooOdd is why the object could not be in a manifest either.
func (i Info) tooOdd() error {
	if i.Size < 0 || i.Size > maxChunks*ChunkSize {
		return fmt.Errorf("size %d is out of range", i.Size)
	}
	return checkPath(i.Key)
}

func (s *Store) useListing(found saved) {
	m := &Manifest{Version: manifestVersion}
	for _, info := range found.Listing {
		m.Objects = append(m.Objects, unverifiedObject(info))
	}
	slices.SortFunc(m.Objects, byPath)
	s.manifest = m
	s.state = State{Source: found.Source, Unverified: true}
	s.lister = slices.IndexFunc(s.sources, func(src Source) bool { return src.String() == found.Source })
	s.options.Logger.Warn("assets: the store has no manifest; nothing that comes from it is verified", "source", found.Source)
}

func unverifiedObject(i Info) Object { return Object{Path: i.Key, Size: i.Size, ETag: i.ETag} }

// resolve asks for the one object of an unverified prefix that the listing does not have, and remembers it for a boot
// without the store.
func (s *Store) resolve(ctx context.Context, path string) (Object, error) {
	if err := checkPath(path); err != nil {
		return Object{}, fmt.Errorf("asset %q: %w", path, err)
	}
	info, err := s.stat(ctx, path)
	if err == nil {
		err = info.tooOdd()
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return Object{}, status.Fail(status.ReasonAssetMissing, "copy it to the store", fmt.Errorf("asset %s: %w", path, err))
	case errors.Is(err, ErrDenied):
		return Object{}, status.Fail(status.ReasonStoreDenied, deniedHint, fmt.Errorf("asset %s: %w", path, err))
	case err != nil:
		return Object{}, status.Fail(status.ReasonStoreUnreached, "check the route from this subnet to the store", fmt.Errorf("asset %s: %w", path, err))
	}
	o := unverifiedObject(info)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &Manifest{Version: manifestVersion, Objects: slices.Clone(s.manifest.Objects)}
	i, found := slices.BinarySearchFunc(m.Objects, path, func(o Object, p string) int { return strings.Compare(o.Path, p) })
	if !found {
		m.Objects = slices.Insert(m.Objects, i, o)
	}
	s.manifest = m
	listing := saved{Source: s.state.Source}
	for _, o := range m.Objects {
		listing.Listing = append(listing.Listing, Info{Key: o.Path, Size: o.Size, ETag: o.ETag})
	}
	return o, s.save(listing)
}

func (s *Store) stat(ctx context.Context, path string) (Info, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	src := s.sources[s.lister]
	return retry(ctx, func(ctx context.Context) (Info, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, s.options.ReadTimeout, errStalled)
		defer cancel()
		info, err := src.Stat(ctx, path)
		if err != nil {
			err = fmt.Errorf("%s: %w", src, cause(ctx, err))
		}
		return info, err
	})
}
