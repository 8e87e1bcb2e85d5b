package facts

import (
	"context"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

const versionTimeout = 2 * time.Second // of one `--version`

// softwareNames are the programs whose version is a fact, and softwareDirs where they are looked for, in this order.
var (
	softwareNames = []string{"kubelet", "containerd", "runc", "etcd", "crictl"}
	softwareDirs  = []string{"usr/local/bin", "usr/bin", "usr/local/sbin", "usr/sbin", "opt/bin"}
)

// Software reads the versions of installed programs and remembers them until the file changes. It is safe for
// concurrent use; the zero value is ready.
type Software struct {
	mu    sync.Mutex
	known map[string]program
}

type program struct {
	size    int64
	time    time.Time
	version string
}

// Versions finds the programs below the system's root. One that is there and does not tell its version is "unknown".
func (s *Software) Versions(ctx context.Context, system System) map[string]string {
	versions := map[string]string{}
	var mu sync.Mutex
	var running sync.WaitGroup
	for _, name := range softwareNames {
		running.Go(func() {
			if version := s.version(ctx, system, name); version != "" {
				mu.Lock()
				defer mu.Unlock()
				versions[name] = version
			}
		})
	}
	running.Wait()
	if len(versions) == 0 {
		return nil
	}
	return versions
}

func (s *Software) version(ctx context.Context, system System, name string) string {
	for _, dir := range softwareDirs {
		path := system.root(filepath.Join(dir, name))
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		s.mu.Lock()
		known, ok := s.known[path]
		s.mu.Unlock()
		if ok && known.size == info.Size() && known.time.Equal(info.ModTime()) {
			return known.version
		}
		version := builtVersion(path)
		if version == "" {
			version = saidVersion(ctx, path)
		}
		if ctx.Err() != nil {
			return "unknown" // and not remembered
		}
		s.mu.Lock()
		if s.known == nil {
			s.known = map[string]program{}
		}
		s.known[path] = program{info.Size(), info.ModTime(), version}
		s.mu.Unlock()
		return version
	}
	return ""
}

var linkedVersion = regexp.MustCompile(`(?:\.gitVersion|/version\.Version|main\.version)=v?([0-9][^\s'"]*)`)

// builtVersion is what the Go linker left in a program, which costs a few reads instead of a process: the version that
// a build sets with -X, else that of its module. "" when it left none (most releases are built with -trimpath, which
// drops the linker's flags, from a tree that has no version).
func builtVersion(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return ""
	}
	for _, setting := range info.Settings {
		if setting.Key == "-ldflags" {
			if m := linkedVersion.FindStringSubmatch(setting.Value); m != nil {
				return m[1]
			}
		}
	}
	return releaseOf(info.Main.Version)
}

var release = regexp.MustCompile(`^v([0-9]+\.[0-9]+\.[0-9]+(?:-(?:alpha|beta|rc)\.?[0-9]+)?)(?:\+incompatible)?$`)

// releaseOf is "1.37.2" for "v1.37.2", and "" for what is no release: "(devel)", v0.0.0, a pseudo-version.
func releaseOf(version string) string {
	m := release.FindStringSubmatch(version)
	if m == nil || strings.HasPrefix(m[1], "0.0.0") {
		return ""
	}
	return m[1]
}

// saidVersion asks the program itself.
func saidVersion(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.WaitDelay = 100 * time.Millisecond // a grandchild that holds the pipe must not hold the boot
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		return "unknown"
	}
	return parseVersion(string(out))
}

var versionWord = regexp.MustCompile(`(?:^|[\s:])v?([0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*)`)

// parseVersion finds the version in the output of `--version`, or says "unknown".
func parseVersion(output string) string {
	m := versionWord.FindStringSubmatch(output)
	if m == nil {
		return "unknown"
	}
	return m[1]
}
