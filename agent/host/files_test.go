package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"rekindle/agent/apply"
	"rekindle/agent/status"
)

func root(t *testing.T) *Host {
	t.Helper()
	return New(t.TempDir())
}

func TestPath(t *testing.T) {
	h := root(t)
	check(t, h.MkdirAll("/run/deep"))
	for link, to := range map[string]string{
		"/var-run": "/run", "/up": "../../../..", "/etc-passwd": "/etc/passwd", "/loop": "/loop", "/chain": "/var-run/deep", "/rel": "run/../run",
	} {
		check(t, os.Symlink(to, h.root+link))
	}
	put(t, h, File{Path: "/file", Mode: 0o600})
	for p, want := range map[string]string{
		"/": "/", "/run/x": "/run/x", "/var-run/x": "/run/x", "/var-run": "/run", "/up/etc/passwd": "/etc/passwd", "/etc-passwd": "/etc/passwd",
		"/chain/x": "/run/deep/x", "/rel/y": "/run/y", "/a//b/./c/": "/a/b/c", "/a/../b": "/b", "/var-run/../x": "/x", "/no/such/dir": "/no/such/dir",
	} {
		if got, err := h.Path(p); err != nil || got != filepath.Join(h.root, want) {
			t.Errorf("%s: %s, %v", p, strings.TrimPrefix(got, h.root), err)
		}
	}
	for p, says := range map[string]string{
		"etc/passwd": "not absolute", "": "not absolute", "/../etc": "out of the root", "/a/../../b": "out of the root",
		"/loop": "levels of symbolic links", "/file/x": "no directory", "/a\x00b": "not absolute",
	} {
		if got, err := h.Path(p); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %s, %v", p, got, err)
		}
	}
}

func FuzzPath(f *testing.F) {
	h := New(f.TempDir())
	if err := os.Symlink("../../..", h.root+"/up"); err != nil {
		f.Fatal(err)
	}
	if err := os.Symlink("/", h.root+"/abs"); err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"/up/x", "/abs/up/../up", "/a/..//./b", "//", "/abs/../abs"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		real, err := h.Path(p)
		if err == nil && real != h.root && !strings.HasPrefix(real, h.root+"/") {
			t.Errorf("%q leads to %s", p, real)
		}
	})
}

func TestWrite(t *testing.T) {
	h := root(t)
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	check(t, h.MkdirAll("/etc/kubernetes/manifests"))
	files := []File{
		{Path: "/etc/a", Mode: 0o644, Content: []byte("a")},
		{Path: "/etc/secret", Mode: 0o600, Content: []byte("s")},
		{Path: "/etc/suid", Mode: 0o4755, Content: []byte("x")},
		{Path: "/etc/kubernetes/manifests/pod.yaml", Mode: 0o640, Content: []byte("pod")},
		{Path: "/etc/" + strings.Repeat("n", 250), Mode: 0o644, Content: []byte("long")},
	}
	written, err := h.Write(t.Context(), files...)
	check(t, err)
	if len(written) != len(files) {
		t.Errorf("written %q", written)
	}
	for _, f := range files {
		entry, err := h.Look(f.Path)
		check(t, err)
		if entry.Kind != "file" || entry.Mode != f.Mode || content(t, h, f.Path) != string(f.Content) {
			t.Errorf("%s: %+v", f.Path, entry)
		}
	}
	if again, err := h.Write(t.Context(), files...); err != nil || len(again) > 0 {
		t.Errorf("written again: %q, %v", again, err)
	}
	files[0].Mode = 0o600
	if again, err := h.Write(t.Context(), files...); err != nil || !slices.Equal(again, []string{"/etc/a"}) {
		t.Errorf("for its mode: %q, %v", again, err)
	}
	for _, dir := range []string{"/etc", "/etc/kubernetes", "/etc/kubernetes/manifests"} {
		names, err := h.List(dir)
		check(t, err)
		if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, ".") }) {
			t.Errorf("%s: %q", dir, names)
		}
	}
}

// TestWriteAllOrNothing has one file of several that cannot be staged.
func TestWriteAllOrNothing(t *testing.T) {
	h := root(t)
	check(t, h.MkdirAll("/etc"))
	_, err := h.Write(t.Context(), File{Path: "/etc/a", Mode: 0o644, Content: []byte("a")}, File{Path: "/no/b", Mode: 0o644})
	if err == nil || !strings.Contains(err.Error(), "/no/b") || strings.Contains(err.Error(), h.root) {
		t.Errorf("%v", err)
	}
	if names, _ := h.List("/etc"); len(names) > 0 {
		t.Errorf("left %q", names)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	src := filepath.Join(t.TempDir(), "src")
	check(t, os.WriteFile(src, make([]byte, 1<<20), 0o600))
	if _, err := h.Write(ctx, File{Path: "/etc/big", Mode: 0o644, From: src}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if names, _ := h.List("/etc"); len(names) > 0 {
		t.Errorf("left %q", names)
	}
}

func TestWriteReplaces(t *testing.T) {
	h := root(t)
	check(t, h.MkdirAll("/etc/empty"))
	check(t, h.MkdirAll("/etc/full/x"))
	put(t, h, File{Path: "/etc/target", Mode: 0o644, Content: []byte("target")})
	check(t, h.link("/etc/target", "/etc/link"))
	check(t, h.link("/etc/full", "/etc/dirlink"))
	put(t, h, File{Path: "/etc/link", Mode: 0o644, Content: []byte("new")}, File{Path: "/etc/empty", Mode: 0o644, Content: []byte("new")},
		File{Path: "/etc/dirlink/y", Mode: 0o644, Content: []byte("y")})
	if content(t, h, "/etc/target") != "target" || content(t, h, "/etc/link") != "new" || content(t, h, "/etc/empty") != "new" || content(t, h, "/etc/full/y") != "y" {
		t.Error("a link was followed, or not replaced")
	}
	_, err := h.Write(t.Context(), File{Path: "/etc/full", Mode: 0o644})
	if err == nil || !strings.Contains(err.Error(), "mv /etc/full /etc/full.aside") {
		t.Errorf("over a directory: %v", err)
	}
}

// TestReplaceRunning replaces a program while it runs, which writing into it could not (ETXTBSY).
func TestReplaceRunning(t *testing.T) {
	h := machine(t)
	r := runner(t, h)
	install(t, h, "a.service", "[Service]\nType=notify\nExecStart=/usr/bin/helper ready stay\n")
	check(t, r.Do(t.Context(), "start", "a.service"))
	real, err := h.Path("/usr/bin/helper")
	check(t, err)
	if err := os.WriteFile(real, nil, 0o755); !errors.Is(err, syscall.ETXTBSY) {
		t.Fatalf("not busy: %v", err)
	}
	put(t, h, File{Path: "/usr/bin/helper", Mode: 0o755, Content: []byte("new")})
}

func TestWriteErrors(t *testing.T) {
	for err, want := range map[error]struct {
		reason status.Reason
		hint   string
	}{
		syscall.ENOSPC: {status.ReasonDiskFull, "df -h"},
		syscall.EROFS:  {status.ReasonApplyFailed, "read-only"},
		syscall.EPERM:  {status.ReasonApplyFailed, "chattr -i /etc/a"},
		syscall.EACCES: {status.ReasonApplyFailed, "root"},
		syscall.EBUSY:  {status.ReasonApplyFailed, "findmnt /etc/a"},
		syscall.EIO:    {status.ReasonApplyFailed, "dmesg"},
	} {
		got := explain("/etc/a", &os.PathError{Op: "open", Path: "/lab/etc/.a.rekindle", Err: err})
		reason, hint := status.ReasonOf(got)
		if reason != want.reason || !strings.Contains(hint, want.hint) || strings.Contains(got.Error(), "/lab") || !errors.Is(got, err) {
			t.Errorf("%v: %s, %q: %v", err, reason, hint, got)
		}
	}
}

func TestSweep(t *testing.T) {
	h := root(t)
	check(t, h.MkdirAll("/etc/kubernetes/manifests"))
	for _, p := range []string{"/etc/a", "/etc/kubernetes/manifests/pod.yaml"} {
		temp, err := h.temp(p)
		check(t, err)
		check(t, os.WriteFile(temp, nil, 0o600))
	}
	check(t, h.Sweep("/etc/a", "/etc/kubernetes/manifests/pod.yaml", "/no/such", "/etc/a/below"))
	for dir, want := range map[string]int{"/etc": 1, "/etc/kubernetes": 1, "/etc/kubernetes/manifests": 0} {
		if names, _ := h.List(dir); len(names) != want {
			t.Errorf("%s: %q", dir, names)
		}
	}
}

func TestRemove(t *testing.T) {
	h := root(t)
	check(t, h.MkdirAll("/a/b"))
	check(t, h.Remove("/a")) // not empty: stays
	check(t, h.Remove("/no"))
	put(t, h, File{Path: "/f", Mode: 0o600})
	check(t, h.link("/f", "/l"))
	check(t, h.Remove("/l"))
	content(t, h, "/f")
	check(t, h.Remove("/a/b"))
	check(t, h.Remove("/a"))
	if e, _ := h.Look("/a"); e.Kind != apply.KindNone {
		t.Errorf("%+v", e)
	}
	for _, f := range []func(string) error{h.Remove, h.RemoveAll} {
		if f("/") == nil || f("/x/..") == nil {
			t.Error("the root may be removed")
		}
	}
}

func TestBlock(t *testing.T) {
	for name, c := range map[string]struct{ before, content, after string }{
		"new":          {"127.0.0.1 localhost\n", "10.0.0.1 api\n", "127.0.0.1 localhost\n# BEGIN rekindle x\n10.0.0.1 api\n# END rekindle x\n"},
		"no newline":   {"127.0.0.1 localhost", "a", "127.0.0.1 localhost\n# BEGIN rekindle x\na\n# END rekindle x\n"},
		"replace":      {"1\n# BEGIN rekindle x\nold\nold\n# END rekindle x\n2\n", "new", "1\n# BEGIN rekindle x\nnew\n# END rekindle x\n2\n"},
		"remove":       {"1\n# BEGIN rekindle x\nold\n# END rekindle x\n2\n", "", "1\n2\n"},
		"twice":        {"# BEGIN rekindle x\na\n# END rekindle x\n1\n# BEGIN rekindle x\nb\n# END rekindle x\n", "c", "# BEGIN rekindle x\nc\n# END rekindle x\n1\n"},
		"no end":       {"1\n# BEGIN rekindle x\na\n\n2\n", "c", "1\n# BEGIN rekindle x\nc\n# END rekindle x\n\n2\n"},
		"another's":    {"# BEGIN rekindle y\nb\n# END rekindle y\n", "c", "# BEGIN rekindle y\nb\n# END rekindle y\n# BEGIN rekindle x\nc\n# END rekindle x\n"},
		"stray end":    {"1\n# END rekindle x\n2\n", "c", "1\n2\n# BEGIN rekindle x\nc\n# END rekindle x\n"},
		"empty lines":  {"", "a\n\nb\n", "# BEGIN rekindle x\na\nb\n# END rekindle x\n"},
		"nothing ever": {"1\n", "", "1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := root(t)
			put(t, h, File{Path: "/etc/hosts", Mode: 0o644, Content: []byte(c.before)})
			before, err := h.Look("/etc/hosts")
			check(t, err)
			changed, err := h.Block(t.Context(), "/etc/hosts", "x", []byte(c.content))
			check(t, err)
			data, err := h.Read("/etc/hosts")
			check(t, err)
			if string(data) != c.after || changed != (c.before != c.after) {
				t.Errorf("changed %v: %q\nwant %q", changed, data, c.after)
			}
			if after, _ := h.Look("/etc/hosts"); after.Stamp.Inode != before.Stamp.Inode {
				t.Error("not written in place")
			}
			if again, err := h.Block(t.Context(), "/etc/hosts", "x", []byte(c.content)); err != nil || again {
				t.Errorf("again: %v, %v", again, err)
			}
		})
	}
}

func TestBlockConcurrently(t *testing.T) {
	h := root(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 5 {
				if _, err := h.Block(t.Context(), "/etc/hosts", fmt.Sprint(i), fmt.Append(nil, i, " ", n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	text := content(t, h, "/etc/hosts")
	for i := range 8 {
		if !strings.Contains(text, fmt.Sprintf("# BEGIN rekindle %d\n%d 4\n# END rekindle %[1]d", i, i)) {
			t.Errorf("block %d was lost:\n%s", i, text)
		}
	}
	if _, err := h.Block(t.Context(), "/etc/hosts", "a\nb", nil); err == nil {
		t.Error("a marker of two lines")
	}
}

func FuzzBlock(f *testing.F) {
	f.Add("1\n# BEGIN rekindle x\na\n", "c")
	f.Fuzz(func(t *testing.T, text, block string) {
		if strings.Contains(block, "rekindle x") {
			return
		}
		once := withBlock([]byte(text), "x", []byte(block))
		if twice := withBlock(once, "x", []byte(block)); string(twice) != string(once) {
			t.Errorf("%q then %q", once, twice)
		}
	})
}

// TestStagedPrivately has a file readable by its owner alone until it is complete, whatever its mode will be.
func TestStagedPrivately(t *testing.T) {
	h := New(t.TempDir())
	pipe := filepath.Join(t.TempDir(), "pipe")
	check(t, syscall.Mkfifo(pipe, 0o600))
	done := make(chan error)
	go func() {
		_, err := h.Write(t.Context(), File{Path: "/key", Mode: 0o640, From: pipe})
		done <- err
	}()
	in, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns when Write has opened the other end
	check(t, err)
	temp, err := h.temp("/key")
	check(t, err)
	info, err := os.Stat(temp)
	check(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("while it is written: %s", info.Mode())
	}
	_, err = in.WriteString("secret")
	check(t, err)
	check(t, in.Close())
	check(t, <-done)
	if info, err := os.Stat(h.Root() + "/key"); err != nil || info.Mode() != 0o640 || info.Size() != 6 {
		t.Errorf("%v, %v", info, err)
	}
}
