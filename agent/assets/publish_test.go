package assets

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// targetKinds makes an empty target of each kind, and tells what keys it holds.
var targetKinds = map[string]func(t *testing.T) (target Target, keys func() []string){
	"dir": func(t *testing.T) (Target, func() []string) {
		d := NewDir(filepath.Join(t.TempDir(), "not", "yet", "there"))
		return d, func() (keys []string) {
			for info, err := range d.List(t.Context(), "") {
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, info.Key)
			}
			return keys
		}
	},
	"s3": func(t *testing.T) (Target, func() []string) {
		server, client := newS3Server(t)
		return NewS3(client, "bucket", ""), server.keys
	},
}

func TestPublish(t *testing.T) {
	for name, create := range targetKinds {
		t.Run(name, func(t *testing.T) {
			target, keys := create(t)
			public, secret := newKey(t)
			files := map[string][]byte{
				"bin/big": noise(1, wholeLimit+ChunkSize+1), "bin/copy": noise(1, wholeLimit+ChunkSize+1),
				"small": []byte("s"), "empty": {}, "cluster.yaml": []byte("cluster: one\n"),
			}
			first := publishTo(t, target, secret, files)
			if first.Objects != 5 || first.Uploaded != 4 || first.Unchanged {
				t.Errorf("first publication: %+v", first)
			}
			if again := publishTo(t, target, secret, files); !again.Unchanged || again.Uploaded != 0 || again.Manifest != first.Manifest {
				t.Errorf("published again: %+v", again)
			}
			before := keys()
			files["small"], files["cluster.yaml"] = []byte("t"), []byte("cluster: two\n")
			delete(files, "empty")
			if second := publishTo(t, target, secret, files); second.Uploaded != 2 || second.Unchanged {
				t.Errorf("second publication: %+v", second)
			}
			for _, key := range before {
				if !slices.Contains(keys(), key) {
					t.Errorf("%s is gone", key)
				}
			}
			if got, err := Get(t.Context(), target, clusterKey, 1000); err != nil || !bytes.Equal(got, files[clusterKey]) {
				t.Errorf("cluster.yaml = %q, %v", got, err)
			}
			s := opened(t, Options{Sources: []Source{target}, PublicKey: public})
			for path, want := range files {
				if !bytes.Equal(fetched(t, s, path), want) {
					t.Errorf("%s is not what was published", path)
				}
			}
			if _, err := Publish(t.Context(), PublishOptions{Dir: tree(t, files), Target: target}); err == nil || !strings.Contains(err.Error(), "--sign") {
				t.Errorf("unsigned over signed: %v", err)
			}
		})
	}
}

// cutTarget stops working after some writes, as a publisher does that was killed.
type cutTarget struct {
	Target
	left atomic.Int64
}

var errCut = errors.New("killed")

func (c *cutTarget) Put(ctx context.Context, o Object, content io.ReaderAt) error {
	if c.left.Add(-1) < 0 {
		return errCut
	}
	return c.Target.Put(ctx, o, content)
}

func (c *cutTarget) Replace(ctx context.Context, key string, data []byte, was string) error {
	if c.left.Add(-1) < 0 {
		return errCut
	}
	return c.Target.Replace(ctx, key, data, was)
}

// TestPublishInterrupted stops a publication after every one of its writes: readers see the old one or the new one, and
// the next run sends nothing twice.
func TestPublishInterrupted(t *testing.T) {
	old := map[string][]byte{"a": []byte("1"), clusterKey: []byte("1")}
	files := map[string][]byte{"a": []byte("two"), "b": []byte("b"), "c": []byte("3"), clusterKey: []byte("2")}
	dir := tree(t, files)
	public, secret := newKey(t)
	for name, create := range targetKinds {
		t.Run(name, func(t *testing.T) {
			for writes := int64(0); ; writes++ {
				target, _ := create(t)
				publishTo(t, target, secret, old)
				cut := &cutTarget{Target: target}
				cut.left.Store(writes)
				sent, err := Publish(t.Context(), PublishOptions{Dir: dir, Target: cut, Key: secret, Parallel: 1})
				if err == nil {
					if writes != 8 {
						t.Errorf("a publication took %d writes, want 4 objects, 2 signatures, manifest and cluster.yaml", writes)
					}
					return
				}
				s := opened(t, Options{Sources: []Source{target}, PublicKey: public})
				if err := s.Prefetch(t.Context(), "."); err != nil {
					t.Errorf("after %d writes: %v", writes, err)
				}
				again, err := Publish(t.Context(), PublishOptions{Dir: dir, Target: target, Key: secret})
				if err != nil || sent.Uploaded+again.Uploaded != 4 {
					t.Errorf("after %d writes: %d objects sent, then %d, %v", writes, sent.Uploaded, again.Uploaded, err)
				}
				if s := opened(t, Options{Sources: []Source{target}, PublicKey: public}); s.State().Manifest != again.Manifest {
					t.Errorf("after %d writes and a repetition the old manifest governs", writes)
				}
				if got, err := Get(t.Context(), target, clusterKey, 10); string(got) != "2" {
					t.Errorf("after %d writes and a repetition cluster.yaml = %q, %v", writes, got, err)
				}
			}
		})
	}
}

// racedTarget lets another publisher in just before the manifest is replaced.
type racedTarget struct {
	Target
	before func()
}

func (r *racedTarget) Replace(ctx context.Context, key string, data []byte, was string) error {
	if key == manifestKey {
		r.before()
	}
	return r.Target.Replace(ctx, key, data, was)
}

func TestTwoPublishers(t *testing.T) {
	for name, create := range targetKinds {
		t.Run(name, func(t *testing.T) {
			for _, start := range []string{"empty", "filled"} {
				target, _ := create(t)
				if start == "filled" {
					publishTo(t, target, nil, map[string][]byte{"a": []byte("0")})
				}
				var theirs Result
				raced := &racedTarget{target, func() { theirs = publishTo(t, target, nil, map[string][]byte{"a": []byte("theirs")}) }}
				_, err := Publish(t.Context(), PublishOptions{Dir: tree(t, map[string][]byte{"a": []byte("ours")}), Target: raced})
				if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "run rekindle publish again") {
					t.Errorf("%s store: %v, want ErrChanged", start, err)
				}
				if s := opened(t, Options{Sources: []Source{target}}); s.State().Manifest != theirs.Manifest {
					t.Errorf("%s store: the first publication was overwritten", start)
				}
				// The same content from two publishers is no conflict: a lost answer looks just like this.
				raced.before = func() { publishTo(t, target, nil, map[string][]byte{"a": []byte("same")}) }
				if _, err := Publish(t.Context(), PublishOptions{Dir: tree(t, map[string][]byte{"a": []byte("same")}), Target: raced}); err != nil {
					t.Errorf("%s store, same content: %v", start, err)
				}
			}
		})
	}
}

func TestPublishMendsDamagedObjects(t *testing.T) {
	server, client := newS3Server(t)
	target := NewS3(client, "bucket", "")
	files := map[string][]byte{"big": noise(1, wholeLimit+1), "small": []byte("small")}
	publishTo(t, target, nil, files)
	for key, o := range server.objects {
		if strings.HasPrefix(key, objectPrefix) {
			o.data, o.checksum = append([]byte("X"), o.data[1:]...), strings.Replace(o.checksum, o.checksum[:4], "AAAA", 1)
			server.objects[key] = o
		}
	}
	if again := publishTo(t, target, nil, files); again.Uploaded != 2 {
		t.Errorf("%+v, want both objects replaced", again)
	}
	s := opened(t, Options{Sources: []Source{target}})
	for path, want := range files {
		if !bytes.Equal(fetched(t, s, path), want) {
			t.Errorf("%s is still damaged", path)
		}
	}
}

func TestPublishRefuses(t *testing.T) {
	outside := tree(t, map[string][]byte{"secret": nil})
	for name, prepare := range map[string]func(dir string) error{
		"a link out":         func(dir string) error { return os.Symlink(outside+"/secret", dir+"/link") },
		"a dangling link":    func(dir string) error { return os.Symlink("nothing", dir+"/link") },
		"a directory link":   func(dir string) error { return os.Symlink("sub", dir+"/link") },
		"a private key":      func(dir string) error { return os.MkdirAll(dir+"/pki/private", 0o755) },
		"a store":            func(dir string) error { return os.WriteFile(dir+"/manifest.json", nil, 0o644) },
		"an impossible name": func(dir string) error { return os.WriteFile(dir+"/a\nb", nil, 0o644) },
	} {
		dir := tree(t, map[string][]byte{"a": []byte("a"), "sub/b": []byte("b")})
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		target := NewDir(filepath.Join(t.TempDir(), "s"))
		if _, err := Publish(t.Context(), PublishOptions{Dir: dir, Target: target}); err == nil {
			t.Errorf("%s was published", name)
		}
		if _, err := os.Stat(target.path); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
	dir := tree(t, map[string][]byte{"sub/b": []byte("b")})
	if err := os.Symlink("sub/b", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	target := NewDir(filepath.Join(t.TempDir(), "s"))
	if _, err := Publish(t.Context(), PublishOptions{Dir: dir, Target: target}); err != nil {
		t.Fatal(err)
	}
	if got := fetched(t, opened(t, Options{Sources: []Source{target}}), "link"); string(got) != "b" {
		t.Errorf("a link inside the directory was published as %q", got)
	}
}

func TestPublishProgress(t *testing.T) {
	var last Progress
	done := map[string]int64{}
	dir := tree(t, map[string][]byte{"a": noise(1, ChunkSize+1), "b": []byte("b")})
	_, err := Publish(t.Context(), PublishOptions{Dir: dir, Target: NewDir(t.TempDir()), Progress: func(p Progress) {
		if p.Phase == last.Phase && p.Done < last.Done || p.Done > p.Total {
			t.Errorf("progress went from %+v to %+v", last, p)
		}
		last, done[p.Phase] = p, p.Done
	}})
	if want := int64(ChunkSize + 2); err != nil || done["hash"] != want || done["upload"] != want {
		t.Errorf("progress ended at %v, %v", done, err)
	}
}

func TestSecretKey(t *testing.T) {
	_, secret := newKey(t)
	plain, err := secret.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	dir := tree(t, map[string][]byte{"plain": plain, "other": []byte("x")})
	never := func() (string, error) { t.Error("asked for a password"); return "", nil }
	if key, err := SecretKey(dir+"/plain", never); err != nil || !key.Equal(*secret) {
		t.Errorf("plain: %v", err)
	}
	if _, err := SecretKey(dir+"/other", never); err == nil {
		t.Error("nonsense was taken for a key")
	}
	noTerminal := errors.New("no terminal")
	if _, err := SecretKey("testdata/locked.key", func() (string, error) { return "", noTerminal }); !errors.Is(err, noTerminal) {
		t.Errorf("a key with a password, and no password: %v", err)
	}
	if underRace() {
		return // scrypt takes half a minute then
	}
	if _, err := SecretKey("testdata/locked.key", func() (string, error) { return "pass", nil }); err != nil {
		t.Error(err)
	}
	if _, err := SecretKey("testdata/locked.key", func() (string, error) { return "wrong", nil }); err == nil {
		t.Error("a wrong password was taken")
	}
}

func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestPublishLeavesNoParts: an upload in parts that fails is cancelled, since S3 keeps and bills what is not.
func TestPublishLeavesNoParts(t *testing.T) {
	server, client := newS3Server(t)
	server.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") != "2" {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // or the client may see a reset instead of the answer
		s3Fault(w, http.StatusForbidden, "AccessDenied")
		return true
	}
	_, err := Publish(t.Context(), PublishOptions{Dir: tree(t, map[string][]byte{"b": noise(1, wholeLimit+1)}), Target: NewS3(client, "bucket", "")})
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "s3:PutObject") || !strings.Contains(err.Error(), "part 2") {
		t.Errorf("%v, want denied, the part and the IAM action", err)
	}
	if len(server.uploads) != 0 || len(server.keys()) != 0 {
		t.Errorf("left behind: %d uploads, keys %q", len(server.uploads), server.keys())
	}
}
