package assets

import (
	"bytes"
	"strings"
	"testing"

	"rekindle/agent/status"
)

func TestUnverifiedPrefix(t *testing.T) {
	files := map[string][]byte{"bin/kubelet": noise(1, ChunkSize+5), "roles/b": []byte("bb"), "empty": {}}
	for name, create := range sourceKinds {
		t.Run(name, func(t *testing.T) {
			src := create(t, files)
			_, err := open(t, Options{Sources: []Source{src}})
			wantReason(t, err, status.ReasonAssetMissing, "assets.unverified")
			public, _ := newKey(t)
			_, err = open(t, Options{Sources: []Source{src}, Unverified: true, PublicKey: public})
			wantReason(t, err, status.ReasonSignature)

			cache := t.TempDir()
			s := opened(t, Options{Sources: []Source{src}, CacheDir: cache, Unverified: true})
			if !s.State().Unverified {
				t.Error("status does not say that nothing is verified")
			}
			for path, want := range files {
				if got := fetched(t, s, path); !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, want %d", path, len(got), len(want))
				}
			}
			_, err = s.Lookup(t.Context(), "none")
			wantReason(t, err, status.ReasonAssetMissing, "asset none")
			if got := len(s.Manifest().Objects); got != len(files) {
				t.Errorf("%d objects are known, want %d", got, len(files))
			}
			s = opened(t, Options{Sources: []Source{&unreachable{src, ErrDenied}}, CacheDir: cache, Unverified: true})
			if s.State().Stale == "" || !bytes.Equal(fetched(t, s, "roles/b"), files["roles/b"]) {
				t.Error("the listing of last time is of no use")
			}
		})
	}
}

func TestUnverifiedSeesNewContent(t *testing.T) {
	server, client := newS3Server(t)
	put := func(text string) {
		server.objects["a"] = s3Object{data: []byte(text), etag: etagOf([]byte(text))}
	}
	cache, src := t.TempDir(), NewS3(client, "bucket", "")
	put("old")
	s := opened(t, Options{Sources: []Source{src}, CacheDir: cache, Unverified: true})
	if got := fetched(t, s, "a"); string(got) != "old" {
		t.Errorf("a = %q", got)
	}
	put("new")
	fresh := opened(t, Options{Sources: []Source{src}, CacheDir: cache, Unverified: true})
	if got := fetched(t, fresh, "a"); string(got) != "new" {
		t.Errorf("a = %q, want the new content", got)
	}
	// A store that was opened before the change: what it listed is gone, and it must not take the one for the other.
	s.cache = opened(t, Options{Sources: []Source{src}, Unverified: true}).cache
	o, _ := s.Manifest().Lookup("a")
	wantReason(t, s.Fetch(t.Context(), o), status.ReasonAssetCorrupt, "changed")
}

func TestUnverifiedPrefersAManifest(t *testing.T) {
	store := published(t, map[string][]byte{"a": []byte("a")})
	s := opened(t, Options{Sources: []Source{NewDir(tree(t, map[string][]byte{"a": []byte("b")})), store}, Unverified: true})
	if state := s.State(); state.Unverified || state.Source != store.String() {
		t.Errorf("state %+v, want the verified source", state)
	}
	odd := NewDir(tree(t, map[string][]byte{`back\slash`: nil, "fine": nil, strings.Repeat("n", 200): nil}))
	if s := opened(t, Options{Sources: []Source{odd}, Unverified: true}); len(s.Manifest().Objects) != 2 {
		t.Errorf("objects %+v, want the odd one ignored", s.Manifest().Objects)
	}
}
