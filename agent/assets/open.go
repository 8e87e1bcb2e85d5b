package assets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"aead.dev/minisign"

	"rekindle/agent/status"
)

// badManifest is a manifest, or its signature, that was read and is not acceptable.
type badManifest struct {
	signature bool
	err       error
}

func (b *badManifest) Error() string { return b.err.Error() }
func (b *badManifest) Unwrap() error { return b.err }

// saved is the copy of the last good manifest, or listing, that the cache keeps. It is one file, so that the pair in it
// is never torn.
type saved struct {
	Source    string `json:"source"`
	Manifest  []byte `json:"manifest,omitempty"`
	Signature []byte `json:"signature,omitempty"`
	Listing   []Info `json:"listing,omitempty"`
}

func (s *Store) savedPath() string { return filepath.Join(s.cache.dir, "manifest.last") }

// load fills the store from its sources or, when none answers, from last time.
func (s *Store) load(ctx context.Context) error {
	last, known := s.lastTime()
	reading, cancel := ctx, context.CancelFunc(func() {})
	if known {
		reading, cancel = context.WithTimeout(ctx, s.options.StaleAfter)
	}
	defer cancel()
	err := s.loadFromSources(reading)
	if err == nil || !known || ctx.Err() != nil {
		return err
	}
	if reason, _ := status.ReasonOf(err); reason != status.ReasonStoreUnreached && reason != status.ReasonStoreDenied {
		return err
	}
	if errLast := s.use(last); errLast != nil {
		return fmt.Errorf("%w; nor from the cache: %w", err, errLast)
	}
	s.state.Stale = err.Error()
	s.options.Logger.Warn("assets: the store cannot be read; using the manifest of last time", "source", last.Source, "error", err)
	return nil
}

// loadFromSources asks every source in turn, round after round, until one has a manifest, or all of them have said
// definitely that there is none.
func (s *Store) loadFromSources(ctx context.Context) error {
	answers := make([]error, len(s.sources))
	for round := 0; ; round++ {
		open := false
		for _, i := range s.manifestOrder() {
			src := s.sources[i]
			if answers[i] != nil && definite(answers[i]) {
				continue
			}
			found, err := s.read(ctx, src)
			if err == nil {
				s.health[i].succeeded()
				return s.accept(found)
			}
			answers[i] = err
			if !definite(err) {
				open = true
				s.health[i].failure(errors.Is(err, errStalled))
			}
			s.options.Logger.Info("assets: no manifest", "source", src.String(), "error", err)
		}
		if s.options.Unverified {
			if done, err := s.loadListing(ctx, answers); done {
				return err
			}
		}
		if !open {
			return noManifest(answers)
		}
		if err := s.awaitSource(ctx, round); err != nil {
			return noManifest(append(answers, fmt.Errorf("gave up: %w", err)))
		}
	}
}

// manifestOrder is in which order the sources are asked for the manifest. Without a signing key the manifest is only as
// good as where it is from, and a mirror may be behind: so the store itself comes first, if it is named.
func (s *Store) manifestOrder() []int {
	var order []int
	for i, src := range s.sources {
		if src == s.options.Authority {
			order = slices.Insert(order, 0, i)
		} else {
			order = append(order, i)
		}
	}
	return order
}

func (s *Store) awaitSource(ctx context.Context, round int) error {
	defer status.Waiting(ctx, "assets: manifest", "one of the store's sources to answer")()
	return pause(ctx, backoff(round))
}

// noManifest is the error for all the sources' answers, with the reason that the operator should see to first.
func noManifest(answers []error) error {
	err := error(reasons(slices.DeleteFunc(answers, func(err error) bool { return err == nil })))
	if bad, ok := errors.AsType[*badManifest](err); ok {
		if bad.signature {
			return status.Fail(status.ReasonSignature, "publish with --sign and the secret half of the key that the config names", err)
		}
		return status.Fail(status.ReasonAssetCorrupt, "run rekindle publish again", err)
	}
	for _, answer := range answers {
		if !definite(answer) {
			return status.Fail(status.ReasonStoreUnreached, "check the route, endpoint and security groups from this subnet to the store", err)
		}
	}
	if errors.Is(err, ErrDenied) {
		return status.Fail(status.ReasonStoreDenied, deniedHint, err)
	}
	return status.Fail(status.ReasonAssetMissing,
		"run rekindle publish DIR STORE; or, for a prefix without a manifest, set assets.unverified: true", err)
}

// read gets and verifies the manifest of one source, with one attempt.
func (s *Store) read(ctx context.Context, src Source) (saved, error) {
	data, err := getOnce(ctx, src, manifestKey, Range{}, maxManifest, s.options.ReadTimeout)
	if err != nil {
		return saved{}, err
	}
	found := saved{Source: src.String(), Manifest: data}
	if s.key != nil {
		if found.Signature, err = s.signatureOf(ctx, src, data); err != nil {
			return saved{}, err
		}
	}
	if _, err := ParseManifest(data); err != nil {
		return saved{}, &badManifest{err: fmt.Errorf("%s: %w", src, err)}
	}
	return found, nil
}

// signatureOf finds the signature of this very manifest. A publisher writes it under the manifest's digest before it
// writes the manifest, and under its well-known name after. So whoever reads between any two of these writes, or
// through a mirror that copied the two at different times, finds the right one under one of the names; and replacing
// the manifest is one atomic write.
func (s *Store) signatureOf(ctx context.Context, src Source, manifest []byte) ([]byte, error) {
	missing := 0
	for _, key := range []string{signatureKey, signedKey(manifest)} {
		signature, err := getOnce(ctx, src, key, Range{}, 4096, s.options.ReadTimeout)
		switch {
		case err == nil && s.signed(manifest, signature):
			return signature, nil
		case errors.Is(err, ErrNotFound):
			missing++
		case err != nil:
			return nil, err
		}
	}
	problem := "not made with the key that the config names, or for another manifest"
	if missing == 2 {
		problem = "missing"
	}
	return nil, &badManifest{true, fmt.Errorf("%s: %s: signature is %s", src, manifestKey, problem)}
}

// signedKey is where the signature of this manifest is, whichever manifest is the current one.
func signedKey(manifest []byte) string { return objectKey(sha256Of(manifest)) + ".minisig" }

func (s *Store) signed(manifest, signature []byte) bool {
	return minisign.Verify(*s.key, manifest, signature)
}

// accept uses what was found and keeps a copy for a boot without the store.
func (s *Store) accept(found saved) error {
	if err := s.use(found); err != nil {
		return err
	}
	return s.save(found)
}

func (s *Store) save(found saved) error {
	data, err := json.Marshal(found)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(s.savedPath()); err == nil && string(old) == string(data) {
		return nil
	}
	if err := replaceFile(s.savedPath(), data, 0o644, true); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// lastTime is the saved copy, if it is from one of the present sources and acceptable under the present key.
func (s *Store) lastTime() (saved, bool) {
	var last saved
	data, err := os.ReadFile(s.savedPath())
	if err != nil || json.Unmarshal(data, &last) != nil {
		return saved{}, false
	}
	ours := slices.ContainsFunc(s.sources, func(src Source) bool { return src.String() == last.Source })
	if last.Manifest == nil {
		return last, ours && s.options.Unverified
	}
	return last, ours && (s.key == nil || s.signed(last.Manifest, last.Signature))
}

// use makes a manifest, or a listing, the store's.
func (s *Store) use(found saved) error {
	if found.Manifest == nil {
		s.useListing(found)
		return nil
	}
	m, err := ParseManifest(found.Manifest)
	if err != nil {
		return err
	}
	s.manifest = m
	s.state = State{Source: found.Source, Manifest: sha256Of(found.Manifest), Signed: s.key != nil}
	return nil
}

func byPath(a, b Object) int { return strings.Compare(a.Path, b.Path) }
