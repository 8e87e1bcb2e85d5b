package facts

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestParseVersion(t *testing.T) {
	for output, want := range map[string]string{
		"Kubernetes v1.37.2\n": "1.37.2",
		"containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7193e4\n":      "2.1.4",
		"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1\n":  "1.6.20",
		"runc version 1.1.12\ncommit: v1.1.12-0-g51d5e946\nspec: 1.0.2\ngo: 1.22\n": "1.1.12",
		"etcd Version: 3.6.16\nGit SHA: 12345\nGo Version: go1.25.1\n":              "3.6.16",
		"crictl version v1.37.0-rc.1\n":                                             "1.37.0-rc.1",
		"usage: x\n":                                                                "unknown",
	} {
		if got := parseVersion(output); got != want {
			t.Errorf("%q: %q, want %q", output, got, want)
		}
	}
}

func TestReleaseOf(t *testing.T) {
	for version, want := range map[string]string{
		"v1.37.2": "1.37.2", "v2.1.0-rc.1": "2.1.0-rc.1", "v3.5.0+incompatible": "3.5.0",
		"(devel)": "", "": "", "v0.0.0": "", "v0.0.0-20260101000000-abcdefabcdef": "", "v1.2.3-0.20260101000000-abcdefabcdef": "",
	} {
		if got := releaseOf(version); got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}

func TestSoftware(t *testing.T) {
	root := t.TempDir()
	put(t, root, "usr/local/bin/kubelet", "#!/bin/sh\necho Kubernetes v1.37.2\necho >> "+root+"/asked\n", 0o755)
	put(t, root, "usr/bin/kubelet", "#!/bin/sh\necho Kubernetes v1.30.0\n", 0o755)
	put(t, root, "usr/bin/runc", "#!/bin/sh\nexit 1\n", 0o755)
	put(t, root, "usr/bin/etcd", "not executable", 0o644)
	var s Software
	want := map[string]string{"kubelet": "1.37.2", "runc": "unknown"}
	for range 2 {
		if got := s.Versions(t.Context(), System{Root: root}); !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if asked, err := os.ReadFile(filepath.Join(root, "asked")); err != nil || len(asked) != 1 {
		t.Errorf("the kubelet was run %d times, %v", len(asked), err)
	}
	put(t, root, "usr/local/bin/kubelet", "#!/bin/sh\necho a longer Kubernetes v1.37.3\n", 0o755)
	if got := s.Versions(t.Context(), System{Root: root})["kubelet"]; got != "1.37.3" {
		t.Errorf("after an upgrade: %s", got)
	}
	if got := s.Versions(t.Context(), System{Root: t.TempDir()}); got != nil {
		t.Errorf("an empty disk has %v", got)
	}
}

// A program that hangs must not hold the boot, and neither what it started.
func TestSoftwareThatHangs(t *testing.T) {
	root := t.TempDir()
	put(t, root, "usr/bin/containerd", "#!/bin/sh\nsleep 60\n", 0o755)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	var s Software
	if got := s.Versions(ctx, System{Root: root})["containerd"]; got != "unknown" {
		t.Error(got)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	if len(s.known) != 0 {
		t.Error("what was cut short is remembered")
	}
}

// The linker's notes spare the process.
func TestBuiltVersion(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "go.mod", "module example.org/x\n", 0o644)
	put(t, dir, "main.go", "package main\n\nvar version string\n\nfunc main() { panic(version) }\n", 0o644)
	build := exec.Command("go", "build", "-ldflags=-X main.version=v1.37.2", "-o", "bin", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := builtVersion(filepath.Join(dir, "bin")); got != "1.37.2" {
		t.Errorf("%q", got)
	}
	if got := builtVersion("/bin/sh"); got != "" {
		t.Errorf("/bin/sh: %q", got)
	}
}
