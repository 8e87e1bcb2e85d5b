package bake

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/assets"
	"rekindle/agent/plan"
)

// then is the SOURCE_DATE_EPOCH of these tests.
var then = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// published is a mirror with what the tests' role wants.
func published(t *testing.T) (dir string, want *plan.Plan) {
	t.Helper()
	from, mirror := t.TempDir(), t.TempDir()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range []struct{ name, content string }{{"bin/one", "1"}, {"bin/two", "22"}} {
		header := &tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.content)), ModTime: then.Add(time.Hour)} // younger
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fill(t, from, map[string]string{"bin/tool": "#!/bin/sh\n", "things.tar": archive.String(), "images/pause.tar": "an image",
		"cluster.yaml": "cluster: prod\n", "roles/tiny/role.yaml": "description: tiny\n", "unwanted": "not for this role"})
	target, err := assets.ParseTarget("dir://"+mirror, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := assets.Publish(t.Context(), assets.PublishOptions{Dir: from, Target: target, Parallel: 1}); err != nil {
		t.Fatal(err)
	}
	sum := func(name string) string {
		o, ok := open(t, mirror, t.TempDir()).Manifest().Lookup(name)
		if !ok {
			t.Fatalf("%s: not published", name)
		}
		return o.SHA256
	}
	return mirror, &plan.Plan{Assets: []plan.Asset{
		{Object: "bin/tool", SHA256: sum("bin/tool"), Path: "/usr/local/bin/tool", Mode: 0o755},
		{Object: "things.tar", SHA256: sum("things.tar"), Path: "/opt/things", Unpack: true},
		{Object: "images/pause.tar", SHA256: sum("images/pause.tar"), Path: imagesDir + "/pause.tar", Mode: 0o644},
	}}
}

func open(t *testing.T, mirror, root string) *assets.Store {
	t.Helper()
	source, err := assets.ParseSource("dir://"+mirror, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := assets.Open(t.Context(), assets.Options{Sources: []assets.Source{source}, CacheDir: root + "/var/lib/rekindle/cache"})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func fill(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var units = fstest.MapFS{
	"rekindle.service":          {Data: []byte("[Service]\nExecStart=/usr/bin/rekindle run\n[Install]\nWantedBy=multi-user.target\n")},
	"rekindle.service.d/x.conf": {Data: []byte("[Service]\n")},
	"90-rekindle.preset":        {Data: []byte("enable rekindle.service\n")},
	"rekindle.tmpfiles":         {Data: []byte("d /run/rekindle\n")},
	"nfpm.yaml":                 {Data: []byte("none of systemd's")},
	"package/build.sh":          {Data: []byte("neither")},
}

// image is options for a root directory; store and role are left out where mirror is empty.
func image(t *testing.T, root, mirror string, want *plan.Plan) Options {
	t.Helper()
	program := filepath.Join(t.TempDir(), "rekindle")
	fill(t, filepath.Dir(program), map[string]string{"rekindle": "the agent"})
	files, err := Install(program, units, map[string][]byte{"/usr/local/share/complete": []byte("me")})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Root: root, Version: "v1", Files: files, Time: then, Import: true, Logger: slog.New(slog.DiscardHandler)}
	if mirror != "" {
		o.Objects, o.Plans, o.Roles = open(t, mirror, root), []*plan.Plan{want}, []string{"tiny"}
	}
	return o
}

func mustBake(t *testing.T, o Options) Baked {
	t.Helper()
	done, err := Bake(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// tree is everything below root: kind, mode, content and times, but for what skip names.
func tree(t *testing.T, root string, skip func(p string) bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(real string, _ fs.DirEntry, err error) error {
		p := strings.TrimPrefix(real, root)
		if err != nil || skip(p) {
			return err
		}
		info, err := os.Lstat(real)
		if err != nil {
			return err
		}
		what := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(real)
			if err != nil {
				return err
			}
			what = string(data)
		case info.Mode().Type() == fs.ModeSymlink:
			what, err = os.Readlink(real)
		}
		all[p] = fmt.Sprintf("%s %s %q", info.Mode(), info.ModTime().UTC().Format(time.RFC3339Nano), what)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func everything(string) bool { return false }

// Twice gives the same tree, to the last time and byte, and the second bake says that nothing changed.
func TestBakeTwice(t *testing.T) {
	for _, at := range []time.Time{then, {}} {
		t.Run(at.Format(time.DateOnly), func(t *testing.T) {
			mirror, want := published(t)
			root := t.TempDir()
			fill(t, root, map[string]string{"etc/machine-id": "0123456789abcdef0123456789abcdef\n", "var/log/syslog": "said", "root/.aws/credentials": "x"})
			o := image(t, root, mirror, want)
			o.Time = at
			if first := mustBake(t, o); len(first.Changes) == 0 {
				t.Error("the first bake says that it changed nothing")
			}
			before := tree(t, root, everything)
			o.Objects = open(t, mirror, root)
			if second := mustBake(t, o); len(second.Changes) > 0 {
				t.Errorf("the second bake changed %v", second.Changes)
			}
			if diff := cmp.Diff(before, tree(t, root, everything)); diff != "" {
				t.Errorf("the second bake changed the tree (-first +second):\n%s", diff)
			}
			found, err := Check(root, nil)
			if err != nil || len(found) > 0 {
				t.Errorf("what was baked is refused: %v %v", found, err)
			}
		})
	}
}

// Two images of the same are alike but for what describes the disk itself: stamps of inodes, and the cache's times.
func TestBakeElsewhere(t *testing.T) {
	mirror, want := published(t)
	stamps := func(p string) bool {
		return p == "/var/lib/rekindle/applied.json" || strings.HasPrefix(p, "/var/lib/rekindle/cache")
	}
	var trees []map[string]string
	for range 2 {
		root := t.TempDir()
		fill(t, root, map[string]string{"etc/hostname": "image"})
		mustBake(t, image(t, root, mirror, want))
		trees = append(trees, tree(t, root, stamps))
	}
	if diff := cmp.Diff(trees[0], trees[1]); diff != "" {
		t.Errorf("(-one +other):\n%s", diff)
	}
	for p, is := range trees[0] {
		if !strings.Contains(is, then.Format(time.RFC3339)) {
			t.Errorf("%s is not of %s: %s", p, then.Format(time.RFC3339), is)
		}
	}
	for p, is := range map[string]string{
		"/usr/bin/rekindle":                                            `-rwxr-xr-x 2026-01-02T03:04:05Z "the agent"`,
		"/usr/lib/systemd/system/rekindle.service":                     fmt.Sprintf("-rw-r--r-- 2026-01-02T03:04:05Z %q", units["rekindle.service"].Data),
		"/etc/systemd/system/multi-user.target.wants/rekindle.service": `Lrwxrwxrwx 2026-01-02T03:04:05Z "/usr/lib/systemd/system/rekindle.service"`,
		"/usr/lib/tmpfiles.d/rekindle.conf":                            `-rw-r--r-- 2026-01-02T03:04:05Z "d /run/rekindle\n"`,
		"/opt/things/bin/two":                                          `-rwxr-xr-x 2026-01-02T03:04:05Z "22"`,
		"/usr/local/bin/tool":                                          `-rwxr-xr-x 2026-01-02T03:04:05Z "#!/bin/sh\n"`,
	} {
		if trees[0][p] != is {
			t.Errorf("%s is %s\nwant %s", p, trees[0][p], is)
		}
	}
	if _, ok := trees[0]["/usr/lib/systemd/system/rekindle.service.d/x.conf"]; !ok {
		t.Error("the drop-in was not installed")
	}
}

// A dry run names what a bake then changes, and changes nothing but the cache.
func TestDryRun(t *testing.T) {
	mirror, want := published(t)
	root := t.TempDir()
	fill(t, root, map[string]string{"etc/machine-id": "0123456789abcdef0123456789abcdef\n", "var/log/syslog": "said",
		"usr/local/share/doc": "so that there is /usr/local"})
	o := image(t, root, mirror, want)
	cache := func(p string) bool { return strings.HasPrefix(p, "/var/lib") || p == "/var" }
	before := tree(t, root, cache)
	o.Dry = true
	dry := mustBake(t, o)
	if diff := cmp.Diff(before, tree(t, root, cache)); diff != "" {
		t.Errorf("the dry run changed the tree:\n%s", diff)
	}
	o.Dry = false
	if diff := cmp.Diff(dry.Changes, mustBake(t, o).Changes); diff != "" {
		t.Errorf("(-said +done):\n%s", diff)
	}
}

// What an image lost after it was baked is named.
func TestGaps(t *testing.T) {
	mirror, want := published(t)
	root := t.TempDir()
	found, err := Check(root, nil)
	if err != nil || len(found) != 1 || !strings.Contains(found[0].String(), "baked.json: missing") {
		t.Errorf("of what was never baked it says %v %v", found, err)
	}
	mustBake(t, image(t, root, mirror, want))
	fill(t, root, map[string]string{"usr/bin/rekindle": "another"})
	objects, err := filepath.Glob(root + "/var/lib/rekindle/cache/objects/*")
	if err != nil || len(objects) == 0 {
		t.Fatal(objects, err)
	}
	for _, p := range append(objects, root+unitDir+"/rekindle.service") {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	if found, err = Check(root, nil); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(found)
	for _, part := range []string{"/usr/bin/rekindle: is not what was baked", "bin/tool was baked and is gone", "rekindle.service: missing"} {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q, but %s", part, text)
		}
	}
}

// Roles that want different things in one place cannot share an image.
func TestRolesDisagree(t *testing.T) {
	one := &plan.Plan{Assets: []plan.Asset{{Object: "a", Path: "/opt/x"}, {Object: "b", Path: "/opt/y"}}}
	other := &plan.Plan{Assets: []plan.Asset{{Object: "c", Path: "/opt/x"}, {Object: "b", Path: "/opt/y"}}}
	if _, err := union([]*plan.Plan{one, other}); err == nil || !strings.Contains(err.Error(), "disagree on /opt/x: a or c") {
		t.Errorf("it says %v", err)
	}
	if all, err := union([]*plan.Plan{one, one}); err != nil || len(all) != 2 {
		t.Errorf("of the same twice it makes %v %v", all, err)
	}
}
