// Package demo is the cluster that the lab boots when nobody brings one: a few lines of cluster.yaml, and assets that
// the built-in roles ask for.
package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"rekindle/agent"
	"rekindle/agent/plan"
	"rekindle/test/lab/assets"
	"rekindle/test/lab/binaries"
)

// Roles are those of the demo's groups.
var Roles = []string{"master", "minion", "loadbalancer"}

// clusterYAML is the store's cluster.yaml.
const clusterYAML = `cluster: demo
environment: laboratory
kubernetes:
  version: %s
etcd:
  version: %s
join:
  iamRoles: [rekindle-node]
`

// imageYAML is what a lab's image says of etcd (region/config.go), for plans on the laptop.
const imageYAML = "etcd: {runAs: unit}\n"

// optional are what roles use when it is published, and do without when it is not.
var optional = []string{
	"cri-tools/linux/" + runtime.GOARCH + "/crictl.tar.gz",
	"ecr-credential-provider/linux/" + runtime.GOARCH + "/ecr-credential-provider",
	"images/linux/" + runtime.GOARCH + "/pause.tar",
}

// Assets fills a directory for `rekindle publish`: what the plans of the roles name. Without own, the file of the
// user's configuration, it puts the demo's cluster.yaml there, too. Files that it needs on the way go to scratch.
func Assets(ctx context.Context, dir, scratch string, b binaries.Set, roles []string, own string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	example := agent.Example()
	example.Machine.Arch = runtime.GOARCH
	facts, err := json.Marshal(example)
	if err != nil {
		return err
	}
	image, seen := filepath.Join(scratch, "image.yaml"), filepath.Join(scratch, "facts.json")
	files := map[string][]byte{seen: facts, image: []byte(imageYAML)}
	if own == "" {
		own = filepath.Join(dir, "cluster.yaml")
		files[own] = fmt.Appendf(nil, clusterYAML, binaries.Default.Kubernetes, binaries.Default.Etcd)
	}
	for path, data := range files {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	objects := slices.Clone(optional)
	for _, role := range roles {
		named, err := planned(ctx, b.Rekindle, "--role", role, "--facts", seen, "--config", image, "--config", own)
		if err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
		objects = append(objects, named...)
	}
	return assets.Make(dir, objects, b)
}

// Mirror publishes what nodes of some roles need to a directory, below dir as everything that it needs on the way, and returns it.
func Mirror(ctx context.Context, dir string, b binaries.Set, roles ...string) (string, error) {
	mirror, assets := filepath.Join(dir, "mirror"), filepath.Join(dir, "assets")
	if err := Assets(ctx, assets, dir, b, roles, ""); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, b.Rekindle, "publish", assets, "dir://"+mirror).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("publish: %w\n%s", err, out)
	}
	return mirror, nil
}

// planned are the objects of the plan that `rekindle plan` prints.
func planned(ctx context.Context, binary string, args ...string) ([]string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, append([]string{"plan"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rekindle plan: %w\n%s", err, &stderr)
	}
	p, err := plan.Read(bytes.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("rekindle plan: %w", err)
	}
	var objects []string
	for _, a := range p.Assets {
		objects = append(objects, a.Object)
	}
	return objects, nil
}
