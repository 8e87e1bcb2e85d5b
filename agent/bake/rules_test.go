package bake

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/host"
)

// example is a path that a pattern stands for.
func example(pattern string) string {
	return strings.NewReplacer("**", "below/a", "*", "some").Replace(strings.TrimPrefix(pattern, "/"))
}

// Every pattern of every rule finds its leftover, with a remedy, and bake removes it. What beside it is not one stays.
func TestEveryRule(t *testing.T) {
	for _, r := range rules {
		for _, pattern := range r.Paths {
			t.Run(pattern, func(t *testing.T) {
				t.Parallel()
				root := t.TempDir()
				fill(t, root, map[string]string{example(pattern): "left", "etc/hostname": "image", "home/some/work": "mine"})
				found, err := leftovers(host.New(root), nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(found) != 1 || found[0].Path != "/"+example(pattern) || found[0].Why == "" || found[0].Remedy == "" {
					t.Fatalf("found %+v", found)
				}
				if kept, err := leftovers(host.New(root), []string{"/" + example(pattern)}); err != nil || len(kept) > 0 {
					t.Errorf("--keep does not keep it: %v %v", kept, err)
				}
				_, err = Bake(t.Context(), image(t, root, "", nil))
				if r.Node {
					if err == nil || !strings.Contains(err.Error(), found[0].Path) {
						t.Errorf("a node was baked: %v", err)
					}
					if _, err := os.Stat(filepath.Join(root, example(pattern))); err != nil {
						t.Errorf("what a node had was removed: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range []string{"etc/hostname", "home/some/work"} {
					if _, err := os.Stat(filepath.Join(root, p)); err != nil {
						t.Error(err)
					}
				}
				if found, err := Check(root, nil); err != nil || len(found) > 0 {
					t.Errorf("after bake there is %v %v", found, err)
				}
			})
		}
	}
}

// The machine's id is emptied, not removed, since a missing file means a first boot to systemd; and systemd's own word for
// "none" is none.
func TestMachineID(t *testing.T) {
	for _, id := range []string{"0123456789abcdef0123456789abcdef\n", "uninitialized\n", ""} {
		root := t.TempDir()
		fill(t, root, map[string]string{"etc/machine-id": id})
		found, err := leftovers(host.New(root), nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := len(id) > len("uninitialized\n"); (len(found) == 1) != want {
			t.Errorf("%q: found %v", id, found)
		}
		mustBake(t, image(t, root, "", nil))
		data, err := os.ReadFile(root + "/etc/machine-id")
		if err != nil || len(data) > 0 && len(id) != len("uninitialized\n") {
			t.Errorf("%q became %q, %v", id, data, err)
		}
	}
}

// A link in the image leads to a place in the image, whatever it says, and what is outside stays.
func TestLinksStayInside(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	fill(t, outside, map[string]string{"precious": "mine", "log/precious": "mine"})
	fill(t, root, map[string]string{"tmp/x": "left", outside + "/precious": "left"})
	for link, target := range map[string]string{"var/tmp": outside, "root": "../../../../../../" + outside, "home": "/../etc", "tmp/out": outside} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	mustBake(t, image(t, root, "", nil))
	before := map[string]string{"/precious": "", "/log/precious": ""}
	after := map[string]string{}
	for p := range tree(t, outside, func(p string) bool { return false }) {
		if strings.HasSuffix(p, "precious") {
			after[p] = ""
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("outside of the image:\n%s", diff)
	}
	for _, p := range []string{"tmp/x", "tmp/out", filepath.Join(outside, "precious")} {
		if _, err := os.Lstat(filepath.Join(root, p)); err == nil {
			t.Errorf("%s stayed: %v", p, fs.ErrExist)
		}
	}
}

// A machine that booted as a node holds files that no rule knows; the record of its applies tells.
func TestBootedIsRefused(t *testing.T) {
	root := t.TempDir()
	fill(t, root, map[string]string{"var/lib/rekindle/applied.json": `{"version":1,"units":{"kubelet.service":{}}}`})
	_, err := Bake(t.Context(), image(t, root, "", nil))
	if err == nil || !strings.Contains(err.Error(), "has been a node") {
		t.Errorf("it says %v", err)
	}
}
