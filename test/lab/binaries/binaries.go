// Package binaries builds the programs of a laboratory with the Go toolchain: the agent, the stand-ins, and etcd.
// What is built already and has not changed costs a second.
package binaries

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Set are the paths of the programs.
type Set struct {
	Rekindle string
	Etcd     string // the real server
	Standin  string
	Kubelet  string // the stand-in
}

// Versions are those that the programs claim or have.
type Versions struct{ Kubernetes, Containerd, Etcd string }

// Default are the versions of the demo. Etcd is what go.mod of the test module names.
var Default = Versions{Kubernetes: "1.37.2", Containerd: "2.1.4", Etcd: "3.6.16"}

// Build builds all into dir. When rekindle is given it is not built. The working directory is in the test module.
func Build(ctx context.Context, dir, rekindle string, v Versions) (Set, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Set{}, err
	}
	module, err := moduleDir(ctx)
	if err != nil {
		return Set{}, err
	}
	set := Set{
		Rekindle: filepath.Join(dir, "rekindle"), Etcd: filepath.Join(dir, "etcd"),
		Standin: filepath.Join(dir, "standin"), Kubelet: filepath.Join(dir, "kubelet"),
	}
	type target struct{ in, pkg, out, version string }
	targets := []target{
		{module, "./lab/etcd", set.Etcd, ""},
		{module, "./lab/standin", set.Standin, v.Containerd},
		{module, "./lab/standin/kubelet", set.Kubelet, v.Kubernetes},
	}
	if rekindle == "" {
		targets = append(targets, target{filepath.Dir(module), "./cmd/rekindle", set.Rekindle, "lab"})
	} else if set.Rekindle, err = filepath.Abs(rekindle); err != nil {
		return Set{}, err
	}
	for _, t := range targets {
		if err := build(ctx, t.in, t.pkg, t.out, t.version); err != nil {
			return Set{}, err
		}
	}
	if _, err := os.Stat(set.Rekindle); err != nil {
		return Set{}, fmt.Errorf("%w (run `make build`, or leave --binary out)", err)
	}
	return set, nil
}

func build(ctx context.Context, in, pkg, out, version string) error {
	flags := "-s -w"
	if version != "" {
		flags += " -X main.version=" + version
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", flags, "-o", out, pkg)
	cmd.Dir, cmd.Env = in, append(os.Environ(), "CGO_ENABLED=0") // static: a node's libc is not ours
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, &stderr)
	}
	return nil
}

func moduleDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	gomod := strings.TrimSpace(string(out))
	data, err := os.ReadFile(gomod)
	if err != nil || !bytes.Contains(data, []byte("module rekindle/test\n")) {
		return "", fmt.Errorf("run this in the test module: `cd test && go run ./lab` (go.mod here: %s)", gomod)
	}
	return filepath.Dir(gomod), nil
}
