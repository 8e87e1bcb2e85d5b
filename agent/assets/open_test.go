package assets

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"aead.dev/minisign"

	"rekindle/agent/status"
)

func newKey(t *testing.T) (public string, secret *minisign.PrivateKey) {
	t.Helper()
	p, s, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.String(), &s
}

func publishTo(t *testing.T, target Target, key *minisign.PrivateKey, files map[string][]byte) Result {
	t.Helper()
	result, err := Publish(t.Context(), PublishOptions{Dir: tree(t, files), Target: target, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestSignature(t *testing.T) {
	public, secret := newKey(t)
	other, _ := newKey(t)
	files := map[string][]byte{"a": []byte("a")}
	signed, unsigned := NewDir(filepath.Join(t.TempDir(), "s")), NewDir(filepath.Join(t.TempDir(), "u"))
	publishTo(t, signed, secret, files)
	publishTo(t, unsigned, nil, files)
	open1 := func(key string, sources ...Source) (*Store, error) {
		return open(t, Options{Sources: sources, PublicKey: key})
	}
	if s, err := open1(public, signed); err != nil || !s.State().Signed {
		t.Errorf("the right key: %v", err)
	}
	if s, err := open1("untrusted comment: x\n"+public+"\n", signed); err != nil || !s.State().Signed {
		t.Errorf("the right key with its comment: %v", err)
	}
	if s, err := open1("", signed); err != nil || s.State().Signed {
		t.Errorf("no key: %v", err)
	}
	_, err := open1(other, signed)
	wantReason(t, err, status.ReasonSignature, "signature is not made with the key", "--sign")
	_, err = open1(public, unsigned)
	wantReason(t, err, status.ReasonSignature, "signature is missing", "--sign")
	_, err = open1("RWnonsense", signed)
	wantReason(t, err, status.ReasonConfigInvalid, "minisign.pub")
	if s, err := open1(public, unsigned, signed); err != nil || s.State().Source != signed.String() {
		t.Errorf("the first source unsigned, the second signed: %v", err)
	}

	manifest := filepath.Join(signed.path, manifestKey)
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, bytes.Replace(data, []byte(`"a"`), []byte(`"b"`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = open1(public, signed)
	wantReason(t, err, status.ReasonSignature, manifestKey)
}

// TestSignatureBetweenWrites looks at the store after each write of a publication: whoever reads then finds the old
// manifest or the new one, always with its signature.
func TestSignatureBetweenWrites(t *testing.T) {
	public, secret := newKey(t)
	store := NewDir(filepath.Join(t.TempDir(), "s"))
	first := publishTo(t, store, secret, map[string][]byte{"a": []byte("1")})
	var seen []string
	watched := &watchedTarget{Dir: store, wrote: func() {
		s, err := open(t, Options{Sources: []Source{store}, PublicKey: public})
		if err != nil {
			t.Fatalf("after write %d: %v", len(seen)+1, err)
		}
		seen = append(seen, s.State().Manifest)
	}}
	second := publishTo(t, watched, secret, map[string][]byte{"a": []byte("2")})
	if len(seen) != 4 || seen[0] != first.Manifest || seen[1] != first.Manifest || seen[2] != second.Manifest || seen[3] != second.Manifest {
		t.Errorf("manifests seen: %q; want %s twice, then %s", seen, first.Manifest, second.Manifest)
	}
}

type watchedTarget struct {
	*Dir
	wrote func()
}

func (w *watchedTarget) Put(ctx context.Context, o Object, content io.ReaderAt) error {
	defer w.wrote()
	return w.Dir.Put(ctx, o, content)
}

func (w *watchedTarget) Replace(ctx context.Context, key string, data []byte, was string) error {
	defer w.wrote()
	return w.Dir.Replace(ctx, key, data, was)
}

// unreachable is a source that answers nothing until it is switched on.
type unreachable struct {
	Source
	err error
}

func (u *unreachable) Get(ctx context.Context, key string, r Range) (io.ReadCloser, error) {
	if u.err != nil {
		return nil, u.err
	}
	return u.Source.Get(ctx, key, r)
}

func TestBootsFromCacheWhenStoreIsUnreachable(t *testing.T) {
	public, secret := newKey(t)
	store := NewDir(filepath.Join(t.TempDir(), "s"))
	publishTo(t, store, secret, map[string][]byte{"a": []byte("a")})
	cache := t.TempDir()
	src := &unreachable{Source: store}
	warm := opened(t, Options{Sources: []Source{src}, CacheDir: cache, PublicKey: public})
	fetched(t, warm, "a")
	synctest.Test(t, func(t *testing.T) {
		src.err = errors.New("no route to host")
		start := time.Now()
		s := opened(t, Options{Sources: []Source{src}, CacheDir: cache, PublicKey: public, StaleAfter: 15 * time.Second})
		if took := time.Since(start); took != 15*time.Second {
			t.Errorf("used the old manifest after %s, want 15 s", took)
		}
		if state := s.State(); state.Stale == "" || !state.Signed || state.Source != store.String() {
			t.Errorf("state %+v", state)
		}
		if got := fetched(t, s, "a"); string(got) != "a" {
			t.Errorf("a = %q", got)
		}
		if freed, err := s.Prune(t.Context()); freed != 0 || err != nil {
			t.Errorf("a stale store pruned: %d, %v", freed, err)
		}
		src.err = ErrDenied
		if s := opened(t, Options{Sources: []Source{src}, CacheDir: cache, PublicKey: public}); s.State().Stale == "" {
			t.Error("denied, and not stale")
		}
	})
	refusals := []struct {
		name    string
		options Options
		err     error
		want    status.Reason
	}{
		{"nothing is published any more", Options{Sources: []Source{src}, PublicKey: public}, ErrNotFound, status.ReasonAssetMissing},
		{"another source", Options{Sources: []Source{&faulty{Source: src, name: "dir:///other"}}, PublicKey: public}, ErrDenied, status.ReasonStoreDenied},
	}
	for _, r := range refusals {
		src.err = r.err
		r.options.CacheDir = cache
		_, err := open(t, r.options)
		wantReason(t, err, r.want)
	}
	other, _ := newKey(t)
	src.err = ErrDenied
	_, err := open(t, Options{Sources: []Source{src}, CacheDir: cache, PublicKey: other})
	wantReason(t, err, status.ReasonStoreDenied)
	src.err = errors.New("no route to host")
	_, err = Open(within(t, 50*time.Millisecond), Options{Sources: []Source{src}, CacheDir: t.TempDir()})
	wantReason(t, err, status.ReasonStoreUnreached, "no route to host", "security groups")
}

func TestManifestOfTheFirstSourceThatHasOne(t *testing.T) {
	one := published(t, map[string][]byte{"a": []byte("one")})
	two := published(t, map[string][]byte{"a": []byte("two")})
	empty := NewDir(t.TempDir())
	broken := NewDir(tree(t, map[string][]byte{manifestKey: []byte("{")}))
	for name, sources := range map[string][]Source{
		"missing before":     {empty, one, two},
		"broken before":      {broken, one, two},
		"unreachable before": {&unreachable{Source: two, err: errors.New("timeout")}, one},
		"in order":           {one, two},
	} {
		s := opened(t, Options{Sources: sources})
		if got, err := s.Read(t.Context(), "a"); err != nil || string(got) != "one" {
			t.Errorf("%s: a = %q, %v", name, got, err)
		}
	}
	s := opened(t, Options{Sources: []Source{two, one}, Authority: one})
	if got, err := s.Read(t.Context(), "a"); err != nil || string(got) != "one" {
		t.Errorf("a mirror preferred for objects decided what they are: a = %q, %v", got, err)
	}
	_, err := open(t, Options{Sources: []Source{empty, broken}})
	wantReason(t, err, status.ReasonAssetCorrupt, broken.String(), "publish")
	_, err = open(t, Options{Sources: []Source{empty}})
	wantReason(t, err, status.ReasonAssetMissing, empty.String(), "rekindle publish", "assets.unverified")
	_, err = open(t, Options{})
	wantReason(t, err, status.ReasonConfigInvalid, "store: s3://")
	s = opened(t, Options{Sources: []Source{one}})
	_, err = s.Read(t.Context(), "b")
	wantReason(t, err, status.ReasonAssetMissing, "asset b", one.String(), "publish")
}
